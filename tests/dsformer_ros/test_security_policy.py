"""The SROS2 policy gives the running node the rights that it needs, and no other."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ros_processes import Listener, listener, running

from dsformer_ros.domains import private_domain

POLICY = Path(__file__).parents[2] / "config" / "sros2" / "policy.xml"
NAME = "dsformer_localizer"

# Of a ROS installation: no tf2 here, so the graph cannot show them.
WITH_TF2 = {"subscribe": {"/tf", "/tf_static"}, "publish": {"/tf", "/tf_static"}}
# Which distributions have it, differs.
NOT_EVERYWHERE = {"/dsformer_localizer/get_type_description"}


def resolved(name: str, namespace: str, node: str) -> str:
    """A name of the policy, as ROS expands it."""
    root = namespace.rstrip("/")
    if name.startswith("~"):
        return f"{root}/{node}{name[1:]}"
    return name if name.startswith("/") else f"{root}/{name}"


def rights(kind: str, right: str) -> set[str]:
    """Names of a kind ("topic", "service") that the policy gives a right on."""
    (profile,) = ElementTree.parse(POLICY).getroot().iter("profile")
    groups = [group for group in profile.iter(f"{kind}s") if group.get(right) == "ALLOW"]
    return {resolved(str(one.text), profile.attrib["ns"], profile.attrib["node"]) for group in groups for one in group}


@pytest.fixture(scope="module")
def ears(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    """In the graph of an active node with everything that can be switched on."""
    log = tmp_path_factory.mktemp("policy") / "log"
    given = ["autostart:=true", "threads:=1", "use_sim_time:=true", "provide_reinitialize_service:=true"]
    overrides = [word for parameter in given for word in ("-p", parameter)]
    with (
        private_domain() as domain,
        running("localizer_node", domain, "--ros-args", *overrides, log=log) as process,
        listener(domain) as ears,
    ):
        assert ears.spin_until(lambda: ears.node.count_publishers("/dsformer_localizer/status"), 60), process.output
        assert ears.spin_until(lambda: ears.node.count_subscribers("/image/compressed"), 20), process.output
        # The rest of the graph comes in pieces.
        ears.spin_for(1.5)
        yield ears


def names(pairs: list[tuple[str, Any]]) -> set[str]:
    return {name for name, _ in pairs}


def test_it_may_hear_what_it_hears(ears: Listener) -> None:
    heard = names(ears.node.get_subscriber_names_and_types_by_node(NAME, "/"))
    assert rights("topic", "subscribe") == heard | WITH_TF2["subscribe"]


def test_it_may_say_what_it_says(ears: Listener) -> None:
    said = names(ears.node.get_publisher_names_and_types_by_node(NAME, "/"))
    assert rights("topic", "publish") == said | WITH_TF2["publish"]


def test_it_may_answer_what_it_is_asked(ears: Listener) -> None:
    served = names(ears.node.get_service_names_and_types_by_node(NAME, "/"))
    assert rights("service", "reply") - NOT_EVERYWHERE == served - NOT_EVERYWHERE


def test_it_may_ask_nobody(ears: Listener) -> None:
    assert not names(ears.node.get_client_names_and_types_by_node(NAME, "/"))
    assert not rights("service", "request") | rights("action", "call") | rights("action", "execute")


def test_the_policy_has_the_form_that_sros2_reads() -> None:
    """sros2's policy.xsd, 0.2.0."""
    policy = ElementTree.parse(POLICY).getroot()
    assert (policy.tag, policy.attrib) == ("policy", {"version": "0.2.0"})
    assert [element.tag for element in policy] == ["enclaves"]
    (enclave,) = policy[0]
    assert (enclave.tag, set(enclave.attrib)) == ("enclave", {"path"})
    (profile,) = enclave[0]
    assert (enclave[0].tag, profile.tag, set(profile.attrib)) == ("profiles", "profile", {"ns", "node"})
    allowed = {"topics": ("topic", {"publish", "subscribe"}), "services": ("service", {"reply", "request"})}
    for group in profile:
        element, qualifiers = allowed[group.tag]
        assert group.attrib and set(group.attrib) <= qualifiers and set(group.attrib.values()) == {"ALLOW"}
        assert len(group) and {one.tag for one in group} == {element}
