"""mitmproxy's certificate authority, with a key that is checked when it has to sign. In the place of `CertStore.from_files`.

Whether an RSA key is one takes 36 ms to find out, and a proxy that no client asks for TLS signs nothing.
"""

from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from mitmproxy import certs


class Authority(certs.CertStore):
    """The same to whoever uses it."""

    def __init__(self, pem: bytes, passphrase: bytes | None, ca: certs.Cert, chain_file: Path | None, dh: certs.DHParams) -> None:
        self._pem = pem
        self._passphrase = passphrase
        super().__init__(_read(pem, passphrase), ca, chain_file, b"", dh)
        del self.default_privatekey, self.default_crl  # made below, when they are asked for

    @cached_property
    def default_privatekey(self) -> RSAPrivateKey:  # type: ignore[override]
        return certs.load_pem_private_key(self._pem, self._passphrase)

    @cached_property
    def default_crl(self) -> bytes:  # type: ignore[override]
        return certs.dummy_crl(self.default_privatekey, self.default_ca._cert)


def from_files(ca_file: Path, dhparam_file: Path, passphrase: bytes | None = None) -> certs.CertStore:
    pem = ca_file.read_bytes()
    chain = x509.load_pem_x509_certificates(pem)
    dh = certs.CertStore.load_dhparam(dhparam_file)
    return Authority(pem, passphrase, certs.Cert(chain[0]), ca_file if len(chain) > 1 else None, dh)


def _read(pem: bytes, passphrase: bytes | None) -> RSAPrivateKey:
    """A file that has no key, or one that this passphrase does not open, is an error of the start. The key is not for use."""
    try:
        return serialization.load_pem_private_key(pem, passphrase, unsafe_skip_rsa_key_validation=True)  # type: ignore[return-value]
    except TypeError:  # it needs no passphrase: `certs.load_pem_private_key` takes it too
        if passphrase is None:
            raise
        return _read(pem, None)
