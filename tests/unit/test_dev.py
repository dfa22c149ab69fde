"""The house keeps its promises: `dev` knows when its environment is stale, and leaves the machine as it found it."""

import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(path: Path) -> ModuleType:
    loader = SourceFileLoader(path.stem, str(path))
    spec = spec_from_loader(path.stem, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


dev = load(ROOT / "dev")
needs = load(ROOT / "tests" / "conftest.py").needs


def run_dev(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, ROOT / "dev", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `dev` believes that its environment is."""
    ours = dev.Environment(tmp_path / ".venv", ("-e", "."))
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    monkeypatch.setattr(dev, "OURS", ours)
    monkeypatch.setattr(dev, "CLIENTS", dev.Environment(tmp_path / ".venv-clients", ("one==1",)))
    return tmp_path / ".venv"


@pytest.mark.parametrize("arguments", [[], ["help"], ["--help"]])
def test_help_names_every_command_and_exits_0(arguments: list[str]) -> None:
    done = run_dev(*arguments)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == list(dev.COMMANDS)


def test_an_unknown_command_exits_2_and_shows_the_known_ones() -> None:
    done = run_dev("tset")
    assert done.returncode == 2
    assert "'tset'" in done.stderr
    assert "check" in done.stderr


@pytest.mark.parametrize(
    "other",
    [(b"b", "python3.11", Path("/a")), (b"a", "python3.12", Path("/a")), (b"a", "python3.11", Path("/b"))],
    ids=["pyproject", "python", "place"],
)
def test_a_stamp_tells_another_environment_apart(other: tuple[bytes, str, Path]) -> None:
    ours = (b"a", "python3.11", Path("/a"))
    assert dev.stamp(*ours) == dev.stamp(*ours)
    assert dev.stamp(*ours) != dev.stamp(*other)


def test_an_environment_is_current_while_its_stamp_and_its_python_last(venv: Path) -> None:
    wanted = dev.stamp(b"[project]", dev.PYTHON_NAME, venv.parent)
    assert not dev.is_current(dev.OURS, wanted)
    dev.make_by_hand(venv)
    assert not dev.is_current(dev.OURS, wanted)
    (venv / "dev-stamp").write_text(wanted)
    assert dev.is_current(dev.OURS, wanted)
    assert not dev.is_current(dev.OURS, dev.stamp(b"[project] ", dev.PYTHON_NAME, venv.parent))
    (venv / "bin" / "python").unlink()
    assert not dev.is_current(dev.OURS, wanted)


def test_an_environment_that_was_moved_is_not_used_again(venv: Path) -> None:
    dev.make_by_hand(venv)
    assert dev.is_usable(dev.OURS)
    (venv / "dev-stamp").write_text(dev.stamp(b"", dev.PYTHON_NAME, Path("/before/the/move")))
    assert not dev.is_usable(dev.OURS)


@pytest.mark.parametrize("with_venv_module", [True, False])
def test_an_environment_keeps_its_packages_to_itself(
    venv: Path, monkeypatch: pytest.MonkeyPatch, *, with_venv_module: bool
) -> None:
    if not with_venv_module:
        monkeypatch.setattr(dev, "captured", lambda command: (1, "No module named venv"))
    dev.make_venv(dev.OURS)
    shown = (
        "import sys; print(sys.prefix, sys.prefix != sys.base_prefix, [p for p in sys.path if 'site-packages' in p])"
    )
    done = subprocess.run([venv / "bin" / "python", "-c", shown], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{venv} True ['{venv}/lib/{dev.PYTHON_NAME}/site-packages']"


def test_each_environment_is_made_once_and_again_when_what_it_holds_changes(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (venv.parent / "pyproject.toml").write_text("[project]")
    filled: list[str] = []
    monkeypatch.setattr(dev, "fill_venv", lambda environment: filled.append(environment.path.name))
    monkeypatch.setattr(dev, "missing", lambda packages: [])
    dev.prepare("check")
    dev.prepare("test")
    dev.prepare("test")
    assert filled == [".venv", ".venv-clients"]
    monkeypatch.setattr(dev, "CLIENTS", dev.Environment(dev.CLIENTS.path, ("one==2",)))
    dev.prepare("test")
    assert filled == [".venv", ".venv-clients", ".venv-clients"]


def test_without_clients_the_other_tests_still_run(
    venv: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (venv.parent / "pyproject.toml").write_text("[project]")

    def fill(environment: Any) -> None:
        if environment is dev.CLIENTS:
            raise SystemExit("dev: pip could not install one==1")

    monkeypatch.setattr(dev, "fill_venv", fill)
    monkeypatch.setattr(dev, "missing", lambda packages: [])
    dev.prepare("test")
    assert "pip could not install one==1" in capsys.readouterr().err
    assert not dev.is_current(dev.CLIENTS, dev.wanted_stamp(dev.CLIENTS))


def test_a_package_is_missing_until_its_proof_exists(tmp_path: Path) -> None:
    proof = tmp_path / "initdb"
    package = dev.Package("postgresql-15", str(proof))
    shell = dev.Package("dash", "sh")
    nothing = dev.Package("nothing", "no-such-program-anywhere")
    assert dev.missing([shell, package, nothing]) == ["postgresql-15", "nothing"]
    proof.touch()
    assert dev.missing([shell, package]) == []


@pytest.mark.parametrize("killed_before", [False, True])
def test_services_stay_down_only_while_packages_install(tmp_path: Path, *, killed_before: bool) -> None:
    policy = tmp_path / "policy-rc.d"

    def installation() -> None:
        with dev.services_kept_down(policy):
            assert subprocess.run([policy, "nginx", "start"], check=False).returncode == 101
            raise KeyboardInterrupt

    if killed_before:
        policy.write_text(dev.POLICY_RC_D)
    with pytest.raises(KeyboardInterrupt):
        installation()
    assert not policy.exists()


def test_a_policy_of_the_machine_is_left_alone(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 104\n")
    with dev.services_kept_down(policy):
        assert policy.read_text() == "#!/bin/sh\nexit 104\n"
    assert policy.read_text() == "#!/bin/sh\nexit 104\n"


def test_a_postgresql_configuration_of_the_machine_is_left_alone(tmp_path: Path) -> None:
    conf = tmp_path / "postgresql-common" / "createcluster.conf"
    dev.refuse_default_cluster(conf)
    assert conf.read_text() == "create_main_cluster = false\n"
    conf.write_text("ssl = on\n")
    dev.refuse_default_cluster(conf)
    assert conf.read_text() == "ssl = on\n"


def test_without_root_the_packages_to_install_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    dev.install_packages(["squashfs-tools"])
    assert "sudo apt-get install -y --no-install-recommends squashfs-tools" in capsys.readouterr().err


def test_slow_tests_run_only_when_asked_for() -> None:
    assert dev.pytest_arguments(["-x", "tests/unit"]) == ["-m", "not slow", "-x", "tests/unit"]
    assert dev.pytest_arguments(["--all", "-x"]) == ["-x"]


def test_all_tests_are_shared_out_to_processes_and_those_that_were_picked_are_not() -> None:
    assert dev.pytest_arguments([]) == [*dev.WORKERS, "-m", "not slow"]
    assert dev.pytest_arguments(["--all"]) == list(dev.WORKERS)


def test_what_a_test_needs_is_found_by_name_or_by_path() -> None:
    assert Path(needs("sh", "dash")).is_absolute()
    assert needs("/etc/passwd", "base-passwd") == "/etc/passwd"


@pytest.mark.parametrize("tool", ["no-such-program-anywhere", "/no/such/path"])
def test_a_missing_program_skips_a_test_here_and_fails_it_in_ci(monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="install a-package"):
        needs(tool, "a-package")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="install a-package"):
        needs(tool, "a-package")
