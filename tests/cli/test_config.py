from pathlib import Path

import pytest

from pura.errors import BadConfig
from pura_client import config as client_config

KEY = "ab" * 32
GOOD = f'server = "localhost:7443"\npublic_key = "public.key"\nlabel_key = "{KEY}"\n'


def load(folder: Path, text: str) -> client_config.ClientConfig:
    file = folder / "client.toml"
    file.write_text(text)
    return client_config.load(file)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD + 'ca = "ca.crt"\ncert = "/etc/pura/c.crt"\nkey = "c.key"\n')
    assert config.public_key == tmp_path / "public.key"
    assert config.ca == tmp_path / "ca.crt"
    assert config.cert == Path("/etc/pura/c.crt")
    assert config.label_key_bytes() == bytes.fromhex(KEY)


def test_what_it_remembers_lies_beside_the_file(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).state == tmp_path / "client.state"
    assert load(tmp_path, GOOD + 'state = "/var/lib/pura/one.state"\n').state == Path("/var/lib/pura/one.state")


def test_the_file_is_found_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.toml").write_text(GOOD)
    monkeypatch.setenv("PURA_CLIENT", str(tmp_path / "c.toml"))
    assert client_config.load().server == "localhost:7443"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "colour = 1\n", "colour"),
        (GOOD.replace("localhost:7443", "localhost"), "host:port"),
        (GOOD.replace("label_key", "# label_key"), "label_key"),
        (GOOD + 'ca = "ca.crt"\n', "belong together"),
        (GOOD + "deadline_s = 0\n", "deadline_s"),
        ("server = ", "TOML"),
        (GOOD + 's2_key = "00"\n', "s2_key"),
        (GOOD + '[collection]\nkey_id = "00"\n', "collection.key_id"),
        (GOOD + f'[collection]\nkey_id = "{KEY[:32]}"\n', "collection.dimension"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_shown(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadConfig, match=message) as caught:
        load(tmp_path, text)
    assert KEY not in f"{caught.value!r}{caught.value.detail}"


def test_a_label_key_that_is_not_hexadecimal(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="hexadecimal"):
        load(tmp_path, GOOD.replace(KEY, "xyz")).label_key_bytes()


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="--config"):
        client_config.load(tmp_path / "no.toml")


def test_the_label_key_does_not_print(tmp_path: Path) -> None:
    assert KEY not in repr(load(tmp_path, GOOD))


@pytest.mark.parametrize(
    ("server", "loopback"), [("localhost:1", True), ("127.0.0.2:1", True), ("[::1]:1", True), ("10.0.0.1:1", False)]
)
def test_loopback(tmp_path: Path, server: str, loopback: bool) -> None:
    assert load(tmp_path, GOOD.replace("localhost:7443", server)).is_loopback is loopback


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ("localhost:99999", "between 1 and 65535"),
        ("localhost:0", "between 1 and 65535"),
        ("https://localhost:7443", "https://"),
        ("localhost:７４４３", "host:port"),
        ("2001:db8::7:7443", "brackets"),
        ("", "host:port"),
        ("a b:1", "host:port"),
    ],
)
def test_addresses_that_no_client_can_use(tmp_path: Path, server: str, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        load(tmp_path, GOOD.replace("localhost:7443", server))


def test_a_mark_of_the_byte_order_is_passed_over(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeff" + GOOD).server == "localhost:7443"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "x = " + "[" * 5000 + "]" * 5000, "too deep"),
        (GOOD + "x = " + "1" * 5000, "too long"),
        (GOOD + 'ca = "a\\u0000b"\ncert = "c"\nkey = "k"\n', "ca has a NUL"),
        (GOOD + "x = = 1\n", "line 4"),
    ],
)
def test_files_that_are_odd_say_what_to_mend(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        load(tmp_path, text)


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "client.toml").write_bytes(GOOD.encode("utf-16"))
    with pytest.raises(BadConfig, match="UTF-8"):
        client_config.load(tmp_path / "client.toml")
