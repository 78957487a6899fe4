"""mitmproxy's certificate authority is the same, whether its key was checked at the start or when it signs."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from mitmproxy.certs import CertStore

from addons import engine

engine.install()

NAME = "mitmproxy"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ca")
    CertStore.create_store(folder, NAME, 2048)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    for file in made.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def ca_of(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{NAME}-ca-cert.pem").read_bytes())


def with_key(folder: Path, key: bytes) -> None:
    (folder / f"{NAME}-ca.pem").write_bytes(key + (folder / f"{NAME}-ca-cert.pem").read_bytes())


def signs(store: CertStore, ca: x509.Certificate) -> bool:
    """Raises if it was somebody else."""
    store.get_cert("example.com", [x509.DNSName("example.com")]).cert.to_cryptography().verify_directly_issued_by(ca)
    return x509.load_der_x509_crl(store.default_crl).is_signature_valid(ca.public_key())  # type: ignore[arg-type]


def test_what_it_signs_is_its_own(folder: Path) -> None:
    store = CertStore.from_store(folder, NAME, 2048)
    assert store.default_ca.to_cryptography() == ca_of(folder)
    assert signs(store, ca_of(folder))


def test_the_first_start_makes_one(tmp_path: Path) -> None:
    store = CertStore.from_store(tmp_path / "new", NAME, 2048)
    assert signs(store, ca_of(tmp_path / "new"))


@pytest.mark.parametrize("passphrase", [b"secret", None], ids=["with one", "without"])
def test_a_passphrase_opens_what_has_one_and_is_passed_over_by_what_has_none(folder: Path, passphrase: bytes | None) -> None:
    key = CertStore.from_store(folder, NAME, 2048).default_privatekey
    locked = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    with_key(folder, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    assert signs(CertStore.from_store(folder, NAME, 2048, b"secret"), ca_of(folder))


def test_what_is_no_key_is_found_at_the_start(folder: Path) -> None:
    with_key(folder, b"")
    with pytest.raises(ValueError, match="PEM"):
        CertStore.from_store(folder, NAME, 2048)


def test_a_passphrase_that_is_wrong_is_found_at_the_start(folder: Path) -> None:
    key = CertStore.from_store(folder, NAME, 2048).default_privatekey
    with_key(folder, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"right")))
    with pytest.raises(ValueError, match="password"):
        CertStore.from_store(folder, NAME, 2048, b"wrong")
    with pytest.raises(TypeError, match="encrypted"):
        CertStore.from_store(folder, NAME, 2048)


def test_nothing_is_signed_with_a_key_that_is_none(folder: Path) -> None:
    """OpenSSL may hang or crash with it."""
    good = CertStore.from_store(folder, NAME, 2048).default_privatekey.private_numbers()
    bad = rsa.RSAPrivateNumbers(good.p, good.q, good.d + 2, good.dmp1, good.dmq1, good.iqmp, good.public_numbers)
    key = bad.private_key(unsafe_skip_rsa_key_validation=True)
    with_key(folder, key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    with pytest.raises(ValueError, match="key"):
        signs(CertStore.from_store(folder, NAME, 2048), ca_of(folder))
