"""deploy/scale: compose.yaml and the manifests for Kubernetes agree with the image, with each other, and with what proxies need."""

import base64
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from ruamel.yaml import YAML

from addons import probes
from addons.policy import parse
from addons.shutdown import LAST_WORDS
from auth import sealing, shared
from auth.issuer import TOTAL_TIMEOUT
from tests.deploy import compose
from tests.deploy.dockerfile import parse as parse_dockerfile
from tests.deploy.kubernetes import manifest, manifests
from tests.deploy.scale import FILES
from tests.needs import need_programs
from tests.proxy import ROOT

SET = {"PROXY_API_KEY": "cmx-of-a-test", "REDIS_PASSWORD": "word-of-a-test"}
PROXIES = ("proxy-1", "proxy-2", "proxy-3")

# Answers under way, then a refresh that has begun at the last moment, and twice the last words.
LONGEST_END = parse("").shutdown.grace + TOTAL_TIMEOUT + 2 * LAST_WORDS


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return compose.services("setup", env=SET, file="deploy/scale/compose.yaml")


def image(word: str) -> list[str]:
    return [step.rest for step in parse_dockerfile((ROOT / "Dockerfile").read_text())[-1].steps if step.word == word]


def pod(kind: str, name: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What it is, and its only container."""
    spec = manifest(kind, name)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return spec, container


# --- HAProxy ----------------------------------------------------------------------------------------------------------


def test_haproxy_takes_its_file_without_a_warning() -> None:
    need_programs("haproxy")
    addresses = dict.fromkeys(("BIND", "PROXY_1", "PROXY_2", "PROXY_3"), "127.0.0.1:9090")
    command = ["haproxy", "-c", "-f", str(FILES / "haproxy.cfg")]
    ran = subprocess.run(command, env=os.environ | addresses, capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and "WARNING" not in ran.stderr, ran.stderr


def test_haproxy_is_more_patient_than_a_proxy() -> None:
    cfg = (FILES / "haproxy.cfg").read_text()
    patience = [int(seconds) for seconds in re.findall(r"timeout (?:client|server|tunnel) (\d+)s", cfg)]
    row = re.search(r"`codex_total_timeout` \| `(\d+)`", (ROOT / "README.md").read_text())  # which a test holds against the option
    assert row and len(patience) == 3 and min(patience) > int(row[1])


# --- compose ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_secret_has_to_be_given() -> None:
    for name in SET:
        with pytest.raises(AssertionError, match=f"{name}.*deploy/scale/.env"):
            compose.services(env={key: value for key, value in SET.items() if key != name}, file="deploy/scale/compose.yaml")


@pytest.mark.slow
def test_three_proxies_with_a_record_of_their_own_share_a_redis(services: dict[str, Any]) -> None:
    records = set()
    for name in PROXIES:
        (data,) = [mount["source"] for mount in services[name]["volumes"] if mount["target"] == "/data"]
        records.add(data)
        assert services[name]["environment"] == {
            "PROXY_API_KEY": SET["PROXY_API_KEY"],
            shared.URL: f"redis://:{SET['REDIS_PASSWORD']}@redis:6379/0",
            sealing.SETTING: "/run/secrets/redis.key",
        }
        assert services[name]["secrets"] == [{"source": "redis.key", "target": "/run/secrets/redis.key"}]
    assert len(records) == 3
    assert services["setup"]["environment"] == services["proxy-1"]["environment"]


@pytest.mark.slow
def test_haproxy_finds_the_proxies_and_is_all_that_others_reach(services: dict[str, Any]) -> None:
    (port,) = image("EXPOSE")
    environment = services["haproxy"]["environment"]
    assert [environment[f"PROXY_{n}"] for n in (1, 2, 3)] == [f"{name}:{port}" for name in PROXIES]
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports.keys() == {"haproxy"} and [each["host_ip"] for each in ports["haproxy"]] == ["127.0.0.1"]
    assert environment["BIND"] == f"*:{ports['haproxy'][0]['target']}"
    assert set(re.findall(r"\$\{(\w+)\}", (FILES / "haproxy.cfg").read_text())) == environment.keys()


@pytest.mark.slow
def test_a_proxy_has_the_time_that_it_needs_to_end(services: dict[str, Any]) -> None:
    for name in PROXIES:
        (minutes, seconds) = re.fullmatch(r"(\d+)m(\d+)s", services[name]["stop_grace_period"]).groups()  # type: ignore[union-attr]
        assert int(minutes) * 60 + int(seconds) > LONGEST_END


@pytest.mark.slow
def test_nobody_has_more_rights_than_needed(services: dict[str, Any]) -> None:
    for service in services.values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service


# --- Kubernetes -------------------------------------------------------------------------------------------------------


def test_kubernetes_knows_all_of_it() -> None:
    for each in manifests():
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
    assert len(manifests()) == 9


def test_every_selector_finds_its_pods() -> None:
    pods = [each["spec"]["template"]["metadata"]["labels"] for each in manifests() if each["kind"] in ("Deployment", "StatefulSet")]
    for each in manifests():
        spec = each.get("spec", {})
        if each["kind"] == "Service":
            selector = spec["selector"]
        elif "selector" in spec or "podSelector" in spec:
            selector = spec.get("selector", spec.get("podSelector"))["matchLabels"]
        else:
            continue
        assert [labels for labels in pods if selector.items() <= labels.items()] == [each["metadata"]["labels"]]


def test_the_proxies_run_as_the_image_has_it() -> None:
    spec, container = pod("Deployment", "codex-mitm")
    (port,), (user,) = image("EXPOSE"), image("USER")
    assert container["ports"] == [{"name": "http", "containerPort": int(port)}]
    context = spec["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == user and context["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    (command,) = image("CMD")
    ours = YAML(typ="safe").load(command)
    assert container["args"][: len(ours)] == ours, "and more behind it"
    assert f'["{container["volumeMounts"][0]["mountPath"]}"]' in image("VOLUME")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] == probes.HEALTH and container[probe]["httpGet"]["port"] == "http"


def test_they_find_redis_and_what_is_secret() -> None:
    spec, container = pod("Deployment", "codex-mitm")
    env = {each["name"]: each for each in container["env"]}
    (place,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "secrets"]
    (volume,) = [each["secret"] for each in spec["volumes"] if each["name"] == "secrets"]
    files = {f"{place}/{item['path']}" for item in volume["items"]}
    assert {env["PROXY_API_KEY_FILE"]["value"], env[sealing.SETTING]["value"]} == files
    service = manifest("Service", "codex-mitm-redis")
    url = env[shared.URL]["value"]
    assert url == f"redis://:$(REDIS_PASSWORD)@{service['metadata']['name']}:{service['spec']['ports'][0]['port']}/0"
    names = [each["name"] for each in container["env"]]
    assert names.index("REDIS_PASSWORD") < names.index(shared.URL), "what is named in a value has to stand before it"
    assert (FILES / "redis.conf").read_text().count(f"\nport {service['spec']['ports'][0]['port']}\n") == 1


def test_they_are_addressed_as_they_are_served() -> None:
    _, container = pod("Deployment", "codex-mitm")
    name, namespace = manifest("Service", "codex-mitm")["metadata"]["name"], manifest("Namespace", "codex-mitm")["metadata"]["name"]
    hosts = {word.removeprefix("codex_hosts=") for word in container["args"] if word.startswith("codex_hosts=")}
    assert hosts == {name, f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.cluster.local"}


def test_a_pod_has_the_time_that_it_needs_to_end() -> None:
    spec, container = pod("Deployment", "codex-mitm")
    before = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] > before + LONGEST_END


def test_more_proxies_come_before_the_slots_are_taken() -> None:
    (wanted,) = manifest("HorizontalPodAutoscaler", "codex-mitm")["spec"]["metrics"]
    row = re.search(r"`codex_max_parallel` \| `(\d+)`", (ROOT / "README.md").read_text())
    assert row and int(wanted["pods"]["target"]["averageValue"]) < int(row[1])


def test_only_what_is_named_talks_to_redis() -> None:
    rules = manifest("NetworkPolicy", "codex-mitm-redis")["spec"]
    proxies = manifest("Deployment", "codex-mitm")["spec"]["selector"]
    assert [peer for rule in rules["ingress"] for peer in rule["from"]] == [{"podSelector": proxies}]
    assert "Egress" in rules["policyTypes"] and "egress" not in rules


@pytest.fixture
def applied(tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """What `kubectl apply -k` would send."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is missing, and Debian has none of today")
    shutil.copytree(FILES, tmp_path / "scale", ignore=shutil.ignore_patterns(".env", "redis.key"))
    missing = subprocess.run(["kubectl", "kustomize", tmp_path / "scale"], capture_output=True, text=True, check=False)
    assert missing.returncode != 0 and ".env" in missing.stderr, "nothing is applied without what is secret"
    (tmp_path / "scale/.env").write_text("".join(f"{name}={value}\n" for name, value in SET.items()))
    (tmp_path / "scale/redis.key").write_text("key of a test\n")
    made = subprocess.run(["kubectl", "kustomize", tmp_path / "scale"], capture_output=True, text=True, check=True)
    yield list(YAML(typ="safe").load_all(made.stdout))


def test_kustomize_puts_it_together(applied: list[dict[str, Any]]) -> None:
    for each in applied:
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
    (secret,) = [each for each in applied if each["kind"] == "Secret"]
    assert {name: base64.b64decode(value) for name, value in secret["data"].items()} == {
        **{name: value.encode() for name, value in SET.items()},
        "redis.key": b"key of a test\n",
    }
    (proxies,) = [each for each in applied if each["kind"] == "Deployment"]
    (container,) = proxies["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/codex-mitm:0.1.0"
    (password,) = [each for each in container["env"] if each["name"] == "REDIS_PASSWORD"]
    assert password["valueFrom"]["secretKeyRef"]["name"] == secret["metadata"]["name"], "and not the name without its hash"
