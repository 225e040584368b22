"""The files of containers and hosts: parsed, and held to what they promise."""

import configparser
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from quant_assets.settings import Settings

CHECKOUT = Path(__file__).parents[2]
DOCKER = CHECKOUT / "docker"
OWN = "quant-assets:0.1.0"


def loaded(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


COMPOSE = loaded(DOCKER / "docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SETTINGS = {str(field.alias) for field in Settings.model_fields.values()}
INSTANCE = set(re.findall(r"env: (\w+)", (DOCKER / "dagster.yaml").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_bounded_watched_and_kept_up(name: str) -> None:
    service = SERVICES[name]
    tag = service["image"].rpartition(":")[2]
    assert re.match(r"v?\d+\.\d+", tag), service["image"]
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert service["mem_limit"]
    assert service["cpus"]
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert set(service.get("depends_on", {})) <= set(SERVICES)


def test_only_the_proxy_is_published_and_on_the_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"proxy": ["${QUANT_BIND:-127.0.0.1}:${QUANT_PORT:-8080}:8080"]}
    assert not any("network_mode" in service for service in SERVICES.values())


@pytest.mark.parametrize("name", [n for n, s in SERVICES.items() if s["image"] == OWN])
def test_every_variable_of_ours_is_a_setting_or_of_the_instance(name: str) -> None:
    service = SERVICES[name]
    given = {*service["environment"], *service["secrets"]}
    assert given - SETTINGS - INSTANCE == set()
    assert given >= INSTANCE, "the instance finds its database"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


def test_what_opens_the_instance_in_a_running_container_has_its_secrets() -> None:
    """Only the container's first process comes through the entrypoint by itself."""
    check = SERVICES["daemon"]["healthcheck"]["test"]
    assert check == ["CMD", "quant-entrypoint", "dagster-daemon", "liveness-check"]
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    for command in re.findall(r"compose .* exec (.+)", readme):
        assert command.startswith("code quant-entrypoint "), command


def test_the_code_server_has_the_name_that_its_runs_are_launched_with() -> None:
    (server,) = loaded(DOCKER / "workspace.yaml")["load_from"]
    assert SERVICES["code"]["hostname"] == server["grpc_server"]["host"]


def test_secrets_are_files_and_no_password_is_written_anywhere() -> None:
    used = {one for service in SERVICES.values() for one in service.get("secrets", ())}
    assert used == set(COMPOSE["secrets"])
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if "PASSWORD" in key or "KEY" in key or "TOKEN" in key:
                assert str(value).startswith("/run/secrets/"), key


def test_what_is_mounted_from_the_checkout_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), source
            else:
                assert source in COMPOSE["volumes"]


def test_the_instance_is_the_checkouts_but_for_its_storage() -> None:
    ours, theirs = loaded(DOCKER / "dagster.yaml"), loaded(CHECKOUT / "dagster.yaml")
    assert set(ours.pop("storage")) == {"postgres"}
    assert ours == theirs


def test_the_code_server_is_where_the_workspace_looks_for_it() -> None:
    (server,) = loaded(DOCKER / "workspace.yaml")["load_from"]
    command = SERVICES[server["grpc_server"]["host"]]["command"]
    assert command[command.index("-p") + 1] == str(server["grpc_server"]["port"])
    local = loaded(CHECKOUT / "workspace.yaml")["load_from"][0]["python_module"]
    assert command[command.index("-m") + 1] == local["module_name"]
    assert server["grpc_server"]["location_name"] == local["location_name"]


def test_the_image_is_pinned_without_root_and_copies_what_there_is() -> None:
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"python:3.12.11-slim-bookworm"}
    assert "--require-hashes" in text
    assert re.search(r"^USER quant$", text, re.MULTILINE)
    ignored = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (CHECKOUT / source).exists(), source
            assert f"!{source}" in ignored, "it is sent to the builder"


def entrypoint(tmp_path: Path, secrets: dict[str, str], *command: str) -> Any:
    folder = tmp_path / "secrets"
    folder.mkdir()
    for name, value in secrets.items():
        (folder / name).write_text(value, encoding="utf-8")
    return subprocess.run(
        [str(DOCKER / "entrypoint.sh"), *command],
        env={
            "PATH": os.environ["PATH"],
            "QUANT_SECRETS": str(folder),
            "QUANT_INSTANCE": str(DOCKER / "dagster.yaml"),
            "DAGSTER_HOME": str(tmp_path / "home"),
        },
        capture_output=True,
        text=True,
    )


def test_the_entrypoint_makes_variables_of_secrets(tmp_path: Path) -> None:
    secrets = {"FRED_API_KEY": "a b$c'd\n", "SLACK_BOT_TOKEN": ""}
    done = entrypoint(tmp_path, secrets, "env")
    assert "FRED_API_KEY=a b$c'd" in done.stdout.splitlines()
    assert "SLACK_BOT_TOKEN" not in done.stdout, "an empty one hides no setting"
    home = tmp_path / "home"
    assert [path.name for path in home.iterdir()] == ["dagster.yaml"]
    assert (home / "dagster.yaml").read_bytes() == (DOCKER / "dagster.yaml").read_bytes()


def test_the_entrypoint_refuses_a_secret_that_is_no_variable(tmp_path: Path) -> None:
    done = entrypoint(tmp_path, {"UI_USERS": "x", "PATH; rm -rf": "x"}, "env")
    assert done.returncode == 2
    assert "a secret is named as its variable" in done.stderr


def test_a_secret_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "cat").write_text("#!/bin/sh\necho refused >&2\nexit 1\n")
    (tools / "cat").chmod(0o755)
    (tmp_path / "secrets" / "FRED_API_KEY").write_text("key")
    done = subprocess.run(
        [str(DOCKER / "entrypoint.sh"), "env"],
        env={"PATH": f"{tools}:{os.environ['PATH']}", "QUANT_SECRETS": str(tmp_path / "secrets")},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "FRED_API_KEY" not in done.stdout


def test_a_user_of_the_web_interface_is_added_whole_or_not_at_all(tmp_path: Path) -> None:
    make = tmp_path / "make"
    make.write_bytes((DOCKER / "secrets" / "make").read_bytes())
    make.chmod(0o755)

    def add(user: str, password: str, caddy: str) -> int:
        done = subprocess.run(
            [str(make), user],
            input=f"{password}\n",
            env={"PATH": os.environ["PATH"], "CADDY": caddy},
            capture_output=True,
            text=True,
        )
        return done.returncode

    hashing = tmp_path / "caddy"
    hashing.write_text('#!/bin/sh\nread -r word; echo "$1:$word"\n')
    hashing.chmod(0o755)
    users = tmp_path / "UI_USERS"
    assert add("alice", "one", str(hashing)) == 0
    assert add("bob", "two", str(hashing)) == 0
    assert add("alice", "three", str(hashing)) == 0
    assert users.read_text().splitlines() == [
        "bob hash-password:two", "alice hash-password:three",
    ]  # fmt: skip
    assert add("eve", "four", "/no/such/program") != 0
    assert "eve" not in users.read_text()


def test_settings_of_the_containers_are_kept_out_of_commits() -> None:
    assert "docker/settings.env" in (CHECKOUT / ".gitignore").read_text().split()


def test_the_secrets_are_made_once_and_kept_out_of_commits(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    make = folder / "make"
    make.write_bytes((DOCKER / "secrets" / "make").read_bytes())
    make.chmod(0o755)
    said = subprocess.run([str(make)], check=True, capture_output=True, text=True).stderr
    assert "nobody may log in yet" in said
    first = {path.name: path.read_text() for path in folder.iterdir()}
    assert {*first} - {"make"} == set(COMPOSE["secrets"])
    password = first["QUANT_POSTGRES_PASSWORD"].strip()
    assert len(password) >= 32
    assert password != first["GRAFANA_PASSWORD"].strip()
    url = first["QUANT_SERVING_URL"].strip()
    assert Settings(QUANT_SERVING_URL=url).serving_address == (
        f"postgresql://quant:{password}@postgres:5432/quant"
    )
    subprocess.run([str(make)], check=True, capture_output=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == first
    ignored = (DOCKER / "secrets" / ".gitignore").read_text(encoding="utf-8").split()
    assert ignored == ["*", "!.gitignore", "!make"]


@pytest.mark.parametrize("path", sorted((DOCKER / "systemd").iterdir()), ids=lambda p: p.name)
def test_a_unit_runs_a_command_of_ours_without_root(path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text(encoding="utf-8"))
    service = unit["Service"]
    program = Path(service["ExecStart"].split()[0]).name
    assert program in ("quant", "dagster-daemon", "dagster-webserver")
    assert service["User"] == "quant"
    assert service["Restart"] == "always"
    assert service["NoNewPrivileges"] == "true"
    assert unit["Install"]["WantedBy"] == "multi-user.target"


def test_the_workflow_runs_the_gate_before_the_image() -> None:
    jobs = loaded(CHECKOUT / ".github" / "workflows" / "ci.yml")["jobs"]
    assert ".ci/run" in jobs["gate"]["steps"][-1]["run"]
    assert jobs["image"]["needs"] == "gate"
    for job in jobs.values():
        assert job["timeout-minutes"]
        for step in job["steps"]:
            assert re.search(r"@v\d", step.get("uses", "@v1"))
