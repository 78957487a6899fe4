"""Runs a command as systemd has it with MemoryDenyWriteExecute=yes: memory that could be written can never be run."""

import ctypes
import os
import sys

# prctl(2), Linux 6.3
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1

libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
    sys.exit(f"PR_SET_MDWE: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
