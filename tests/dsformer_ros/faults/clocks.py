"""Time that jumps: of the cameras' stamps, and of the simulated clock."""

from builtin_interfaces.msg import Time
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

from tests.dsformer_ros.faults.rig import Rig


def jump(rig: Rig, rounds: int) -> None:
    """The clock and the stamps go forward and back by hours and by years, and each picture is still answered."""
    clock = rig.ears.node.create_publisher(Clock, "/clock", QoSProfile(depth=10))
    rig.ears.spin_for(0.5)
    for number in range(rounds):
        for second in (10_000, 10_001, 13_600, 10_000, 2_000_000_000, 1, 0, 10_002):
            now = Time(sec=second, nanosec=number + 1)
            clock.publish(Clock(clock=now))
            message = rig.picture(number, now)
            rig.front.publish(message)
            assert rig.answered(now), f"{second} s\n{rig.process.output}"
    rig.ears.node.destroy_publisher(clock)


def disagree(rig: Rig, rounds: int) -> None:
    """Two cameras whose clocks lie an hour apart, by turns: each is answered."""
    for number in range(rounds):
        early, late = rig.picture(number, Time(sec=20_000 + number)), rig.raw_picture(number)
        late.header.stamp = Time(sec=23_600 + number)
        rig.front.publish(early)
        assert rig.answered(early.header.stamp), rig.process.output
        rig.rear.publish(late)
        assert rig.answered(late.header.stamp), rig.process.output
