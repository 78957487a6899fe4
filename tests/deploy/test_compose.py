"""docker-compose.yml: what it starts, for whom it listens, and what nanobot is told. Its names are those of nanobot v0.0.77."""

import re
from typing import Any

import pytest

from addons.gate import OPEN, OPEN_TO_ALL
from tests.deploy import compose
from tests.deploy.dockerfile import parse
from tests.pages import section
from tests.proxy import ROOT

OURS = ("oauth-proxy", "setup", "learn")

# What nanobot v0.0.77 reads. It takes names that it does not know in silence: NANOBOT_MINI_MODEL is none of its.
NANOBOT_READS = {
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "NANOBOT_DEFAULT_MODEL",
    "NANOBOT_DEFAULT_MINI_MODEL",
    "NANOBOT_RUN_HEALTHZ_PATH",
    "NANOBOT_EXCLUDE_BUILT_IN_AGENTS",
    "NO_PROXY",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def everything() -> dict[str, Any]:
    return compose.services("setup", "learn")


def test_what_is_started_without_a_word_serves() -> None:
    assert compose.services().keys() == {"oauth-proxy", "nanobot"}
    assert compose.services("serve").keys() == {"oauth-proxy", "nanobot"}


def test_signing_in_and_watching_are_called_by_name(everything: dict[str, Any]) -> None:
    assert {name: service["profiles"] for name, service in everything.items() if "profiles" in service} == {
        "setup": ["setup"],
        "learn": ["learn"],
    }
    assert everything["setup"]["command"] == ["python", "-m", "auth", "login", "--device"]


def test_the_manual_calls_them_so() -> None:
    manual = section("docs/deploy.md", "nanobot, in docker compose")
    for command in ("docker compose run --rm setup", "docker compose up", "NANOBOT_ASKS=learn docker compose --profile learn up"):
        assert command in manual and command in (ROOT / "docker-compose.yml").read_text()


def test_every_port_is_for_this_machine_only(everything: dict[str, Any]) -> None:
    ports = [port for service in everything.values() for port in service.get("ports", [])]
    assert len(ports) == 4 and {port["host_ip"] for port in ports} == {"127.0.0.1"}
    assert len({port["published"] for port in ports}) == 4


@pytest.mark.parametrize("name", OURS)
def test_ours_can_write_to_the_volume_and_to_nothing_else(name: str, everything: dict[str, Any]) -> None:
    service = everything[name]
    assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service and "user" not in service  # the image's own
    writable = [mount["target"] for mount in service["volumes"] if not mount.get("read_only")]
    assert writable == ["/data"] == list(image_volumes()) and service["tmpfs"] == ["/tmp"]


def image_volumes() -> list[str]:
    return [step.rest.strip('[]"') for step in parse((ROOT / "Dockerfile").read_text())[-1].steps if step.word == "VOLUME"]


def test_without_a_key_it_is_open_in_so_many_words(everything: dict[str, Any]) -> None:
    assert everything["oauth-proxy"]["environment"] == {"PROXY_API_KEY": "", OPEN: OPEN_TO_ALL}
    assert everything["nanobot"]["environment"]["OPENAI_API_KEY"] == "placeholder"


def test_a_key_is_given_to_both() -> None:
    services = compose.services(env={"PROXY_API_KEY": "cmx-of-a-test"})
    assert services["oauth-proxy"]["environment"]["PROXY_API_KEY"] == "cmx-of-a-test"
    assert services["nanobot"]["environment"]["OPENAI_API_KEY"] == "cmx-of-a-test"


@pytest.mark.parametrize("asks", ["oauth-proxy", "learn"])
def test_nanobot_asks_a_name_that_is_served_and_past_any_proxy(asks: str) -> None:
    services = compose.services("learn", env={"NANOBOT_ASKS": asks})
    environment = services["nanobot"]["environment"]
    assert environment.keys() == NANOBOT_READS
    assert environment["OPENAI_BASE_URL"] == f"http://{asks}:9090/v1"
    assert f"codex_hosts={asks}" in services[asks]["command"] and asks in environment["NO_PROXY"].split(",")


def test_nanobot_is_started_when_the_proxy_is_healthy_and_has_a_check_of_its_own(everything: dict[str, Any]) -> None:
    nanobot = everything["nanobot"]
    assert nanobot["depends_on"]["oauth-proxy"]["condition"] == "service_healthy"
    assert "healthcheck" not in everything["oauth-proxy"]  # the image's
    assert nanobot["healthcheck"]["test"][-1].endswith(nanobot["environment"]["NANOBOT_RUN_HEALTHZ_PATH"])


def test_nanobots_agent_may_use_no_tool() -> None:
    """Without `permissions` it gets every tool of nanobot, a shell too."""
    (mount,) = [mount for mount in compose.services()["nanobot"]["volumes"] if mount["type"] == "bind"]
    assert mount["read_only"] and mount["source"] == str(ROOT / "deploy/nanobot.yaml")
    agents = re.findall(r"^  \w+:\n((?:    .*\n)+)", (ROOT / "deploy/nanobot.yaml").read_text(), re.M)
    assert agents and all('permissions: {"*": deny}' in agent for agent in agents)


def test_every_variable_of_it_is_in_the_example_with_its_default() -> None:
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", (ROOT / "docker-compose.yml").read_text()))
    example = dict(re.findall(r"^#(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.M))
    del used["NANOBOT_ASKS"]  # for one time
    assert example == used | {"PROXY_API_KEY": ""}
