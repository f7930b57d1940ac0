"""Time that jumps: of the cameras' stamps, and of the simulated clock."""

from builtin_interfaces.msg import Time
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

from tests.dsformer_ros.faults.rig import Rig


def jump(rig: Rig, rounds: int) -> None:
    """The clock and the stamps go forward and back by hours and by years, and each picture is still answered."""
    clock = rig.ears.node.create_publisher(Clock, "/clock", QoSProfile(depth=10))
    rig.ears.spin_for(0.5)
    seconds = (10_000, 10_001, 13_600, 10_000, 2_000_000_000, 1, 0, 10_002)
    for step in range(rounds * len(seconds)):
        second = seconds[step % len(seconds)]
        clock.publish(Clock(clock=Time(sec=second, nanosec=1000 * step)))
        rig.ears.spin_for(0.1)
        # The first might be a slip, should it come before the clock; and on a busy machine some are left out.
        for later in range(5):
            now = Time(sec=second, nanosec=1000 * step + later)
            rig.front.publish(rig.picture(step, now))
            if later and rig.answered(now, 4.0):
                break
        else:
            raise AssertionError(f"{second} s\n{rig.process.output}")
    rig.ears.node.destroy_publisher(clock)


def disagree(rig: Rig, rounds: int) -> None:
    """Two cameras whose clocks lie an hour apart, by turns: each is answered."""
    for number in range(rounds):
        early, late = (Time(sec=second + number) for second in (20_000, 23_600))
        # Both have jumped, which only their second pictures make credible; and on a busy machine some are left out.
        for again in range(5):
            early.nanosec = late.nanosec = again
            rig.front.publish(rig.picture(number, early))
            picture = rig.raw_picture(number, stamp=early)
            picture.header.stamp = late
            rig.rear.publish(picture)
            if rig.answered(early, 2.0) and rig.answered(late, 2.0):
                break
        else:
            raise AssertionError(rig.process.output)
