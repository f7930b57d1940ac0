"""Services that everybody calls at once."""

from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.qos import QoSProfile
from std_srvs.srv import Trigger

from tests.dsformer_ros.faults.rig import NODE, Rig

KINDS = {
    f"{NODE}/localize": Trigger,
    f"{NODE}/reset": Trigger,
    f"{NODE}/reload_map": Trigger,
    f"{NODE}/get_parameters": GetParameters,
    f"{NODE}/list_parameters": ListParameters,
}


def crowd(rig: Rig, callers: int, rounds: int) -> int:
    """`callers` calls of each service at a time, while the camera goes on; every one of them is answered.

    Returns:
        How many answers came.
    """
    # Of an ordinary client no more than ten calls wait at a time; what is lost here is to be lost by the node.
    patient = QoSProfile(depth=10 * callers)
    node = rig.ears.node
    clients = [node.create_client(kind, name, qos_profile=patient) for name, kind in KINDS.items()]
    assert rig.ears.spin_until(lambda: all(client.service_is_ready() for client in clients))
    # Discovery has two ends.
    rig.ears.spin_for(1.0)
    answers = 0
    for round_ in range(rounds):
        futures = [client.call_async(client.srv_type.Request()) for _ in range(callers) for client in clients]
        for number in range(100):
            rig.front.publish(rig.picture(round_ + number))
            if rig.ears.spin_until(lambda futures=futures: all(future.done() for future in futures), 0.2):
                break
        done = sum(future.done() for future in futures)
        assert done == len(futures), f"{done} of {len(futures)} calls answered\n{rig.process.output}"
        answers += done
    for client in clients:
        node.destroy_client(client)
    assert rig.answers(2)
    return answers
