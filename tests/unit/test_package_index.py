"""What is asked of pip, and what is made of its answers, with stand-ins for pip."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from convert_model import package_index
from convert_model.catalogue import Distribution
from convert_model.download import FetchError, NeedsClientError


def fake_pip(folder: Path, body: str) -> tuple[str, ...]:
    """A stand-in for pip that runs ``body`` with the arguments in ``argv``."""
    script = folder / "pip.py"
    script.write_text(f"import json, sys\nargv = sys.argv[1:]\n{body}\n")
    return (sys.executable, str(script))


ITEM = Distribution("some-name", "2.0", "some_name-2.0-py3-none-any.whl", 1, "0" * 64)


def test_pip_that_does_not_know_fast_deps(tmp_path: Path) -> None:
    """The experimental switch may go; the address must still be found."""
    report = {"install": [{"download_info": {"url": "https://x/y", "archive_info": {"hashes": {"sha256": "ab"}}}}]}
    body = f"""
if "--use-feature=fast-deps" in argv:
    sys.exit("option --use-feature: invalid choice: 'fast-deps'")
assert argv[-1] == "some-name==2.0" and "--dry-run" in argv and "--no-deps" in argv
print('{json.dumps(report)}')"""
    assert package_index.resolve(ITEM, pip=fake_pip(tmp_path, body)) == package_index.Location("https://x/y", "ab")


@pytest.mark.parametrize(
    "output", ["", "{}", "[]", '{"install": []}', '{"install": [1]}', '{"install": [{"download_info": {}}]}']
)
def test_report_of_another_form(tmp_path: Path, output: str) -> None:
    with pytest.raises(FetchError, match="pip's report on some-name==2.0"):
        package_index.resolve(ITEM, pip=fake_pip(tmp_path, f"print({output!r})"))


def test_python_without_pip() -> None:
    with pytest.raises(FetchError, match="this Python has no pip"):
        package_index.resolve(ITEM, pip=(sys.executable, "-c", "import sys; sys.exit('No module named pip')"))


def test_pip_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_index, "RESOLVE_SECONDS", 0.2)
    with pytest.raises(NeedsClientError, match="no answer"):
        package_index.resolve(ITEM, pip=fake_pip(tmp_path, "import time; time.sleep(30)"))


def test_pip_that_fails_to_download(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"could not fetch some-name==2\.0 \(exit status 3"):
        package_index.fetch_with_pip(ITEM, tmp_path, pip=fake_pip(tmp_path, "sys.exit(3)"))


def test_proxy_and_authorities_from_pips_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "ca.pem").write_text("")
    lines = [
        ":env:.proxy='http://special:1'",
        "global.proxy='http://general:1'",
        f"global.cert='{tmp_path / 'ca.pem'}'",
        "freeze.cert='/other'",
        "nonsense",
    ]
    settings = package_index.connection(pip=fake_pip(tmp_path, f"print({chr(10).join(lines)!r})"))
    assert settings == package_index.Connection("http://special:1", tmp_path / "ca.pem")
    assert package_index.connection(pip=fake_pip(tmp_path, "")) == package_index.Connection(None, None)
    with pytest.raises(FetchError, match="authorities /no/such do not exist"):
        package_index.connection(pip=fake_pip(tmp_path, "print(\"global.cert='/no/such'\")"))


@pytest.mark.parametrize(
    ("version", "able"),
    [("22.0.2", False), ("23.2.1", False), ("23.3", True), ("26.3", True), ("odd", False)],
)
def test_which_pip_can_tell_an_address(monkeypatch: pytest.MonkeyPatch, version: str, able: bool) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: version)
    assert package_index.can_resolve() is able
