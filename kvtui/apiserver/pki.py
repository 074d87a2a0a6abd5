"""The engine's own certificates: one private CA, a serving certificate, client certificates, the token key.

All keys are ECDSA P-256; private keys are files of mode 0600, created so, in a directory of mode 0700.

Source: RFC 5280, https://kubernetes.io/docs/setup/best-practices/certificates/.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_YEARS = 10
LEAF_DAYS = 365
RENEW_BEFORE = timedelta(days=60)
_BACKDATE = timedelta(minutes=5)
MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Where a certificate and its private key are."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Pki:
    """The files of one engine."""

    directory: Path

    @property
    def ca(self) -> KeyPair:
        return self.pair("ca")

    @property
    def server(self) -> KeyPair:
        return self.pair("server")

    @property
    def admin(self) -> KeyPair:
        return self.pair("admin")

    @property
    def agents(self) -> KeyPair:
        """The server's identity towards agents."""
        return self.pair("apiserver-agent-client")

    @property
    def token_key(self) -> Path:
        """Signs ServiceAccount tokens."""
        return self.directory / "sa.key"

    def pair(self, name: str) -> KeyPair:
        return KeyPair(self.directory / f"{name}.crt", self.directory / f"{name}.key")


def ensure_pki(directory: Path, sans: Sequence[str]) -> Pki:
    """Makes what is missing, and renews what ends soon or does not name all of `sans`. Idempotent."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    pki = Pki(directory)
    if not _usable(pki.ca, names=()):
        _make_ca(pki.ca)
    if not _usable(pki.server, names=sans):
        issue_serving(pki, "kvtui-apiserver", sans, pki.server)
    if not _usable(pki.admin, names=()):
        issue_client(pki, "kubernetes-admin", [MASTERS], pki.admin)
    if not _usable(pki.agents, names=()):
        issue_client(pki, "kvtui-apiserver", ["kvtui:apiserver"], pki.agents)
    if not pki.token_key.exists():
        _write_key(pki.token_key, ec.generate_private_key(ec.SECP256R1()))
    return pki


def issue_client(pki: Pki, common_name: str, organizations: Sequence[str], pair: KeyPair) -> None:
    """A client certificate: the user is the common name, the groups are the organizations."""
    _issue(pki, pair, _name(common_name, organizations), [ExtendedKeyUsageOID.CLIENT_AUTH], ())


def issue_serving(
    pki: Pki, common_name: str, sans: Sequence[str], pair: KeyPair, organizations: Sequence[str] = ()
) -> None:
    """A serving certificate for these host names and addresses; agents also use it as client certificate."""
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    _issue(pki, pair, _name(common_name, organizations), usages, sans)


def names_of(path: Path) -> tuple[str, ...]:
    """The host names and addresses that a certificate is for."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    names = [str(n) for n in extension.get_values_for_type(x509.DNSName)]
    return (*names, *(str(a) for a in extension.get_values_for_type(x509.IPAddress)))


def _usable(pair: KeyPair, names: Sequence[str]) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(pair.cert.read_bytes())
        pair.key.stat()
    except (OSError, ValueError):
        return False
    if certificate.not_valid_after_utc - RENEW_BEFORE < datetime.now(UTC):
        return False
    return not set(names) - set(names_of(pair.cert)) if names else True


def _name(common_name: str, organizations: Sequence[str]) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _make_ca(pair: KeyPair) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("kvtui-ca", [])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + timedelta(days=365 * CA_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_key(pair.key, key)
    write_file(pair.cert, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _issue(
    pki: Pki, pair: KeyPair, subject: x509.Name, usages: Sequence[x509.ObjectIdentifier], sans: Sequence[str]
) -> None:
    ca = x509.load_pem_x509_certificate(pki.ca.cert.read_bytes())
    ca_key = load_key(pki.ca.key)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(min(now + timedelta(days=LEAF_DAYS), ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(s) for s in sans]), critical=False)
    certificate = builder.sign(ca_key, hashes.SHA256())
    _write_key(pair.key, key)
    write_file(pair.cert, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Raises ValueError for anything but an elliptic-curve key."""
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is not an elliptic-curve key")
    return key


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    # kube-apiserver reads token keys in this form only.
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    write_file(path, encoded, 0o600)


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Replaces a file atomically; the new one never has wider permissions than `mode`."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600 from the start
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
