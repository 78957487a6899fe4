"""A mitmproxy script that does what a hosts file does: names lead to ports of this machine, all others nowhere.

The names are in the environment, as JSON: {"chatgpt.com": 40001}. Requests are left as they are, TLS and its names too.
"""

import json
import os

from mitmproxy.proxy import server_hooks


class Hosts:
    def __init__(self, ports: dict[str, int]) -> None:
        self.ports = ports

    def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        host = data.server.address[0] if data.server.address else ""
        if host in self.ports:
            data.server.address = ("127.0.0.1", self.ports[host])
        else:
            data.server.error = f"{host} is not in this test's hosts"


addons = [Hosts(json.loads(os.environ["HOSTS"]))]
