"""The managed node `dsformer_localizer`: lifecycle, services, diagnostics."""

import logging
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from std_srvs.srv import Empty, Trigger

from dsformer_core.errors import DsformerError
from dsformer_core.stamps import JUMP_BACK
from dsformer_ros.clock_guard import survive_broken_clocks
from dsformer_ros.diagnostics import LastError, diagnostic_name, node_status
from dsformer_ros.engine import Engine
from dsformer_ros.images import libraries
from dsformer_ros.log_forwarder import LogForwarder
from dsformer_ros.map_loader import MapLoader
from dsformer_ros.parameters import NodeParameters
from dsformer_ros.pipeline import Pipeline
from dsformer_ros.requests import Outcome
from dsformer_ros.transforms import EarthToMap, Mounting

NAME = "dsformer_localizer"

# The name that Nav2's behaviour tree calls.
_REINITIALIZE = "reinitialize_global_localization"

_HOUSEKEEPING_PERIOD = 0.2
# Calls of one service that may wait at a time.
_CALLERS = 1000
_DIAGNOSTICS_PERIOD = 1.0

# Attributes of this class must not be named like any of rclpy's, which differ between distributions.


class LocalizerNode(LifecycleNode):
    """Configured, it holds map, network and publishers; active, it listens to the cameras and answers."""

    def __init__(self, **node_options: Any) -> None:
        """Creates the node, unconfigured.

        Raises:
            UsageError: a parameter override is wrong.
        """
        super().__init__(NAME, **node_options)
        self._pipeline: Pipeline | None = None
        self._earth_to_map: EarthToMap | None = None
        self._configured = ExitStack()
        self._map_loader = MapLoader(self)
        self._last_error = LastError()
        self._node_parameters = NodeParameters(self, lambda: self._pipeline is not None)
        self._log_forwarder = LogForwarder(self.get_logger())
        logging.getLogger("dsformer_core").addHandler(self._log_forwarder)
        self._offer_services()
        self._survive_impossible_transitions()
        survive_broken_clocks(self)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady: simulated time may stand still, and then somebody wants to know.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)
        self.create_timer(_HOUSEKEEPING_PERIOD, self._keep_house, clock=steady)
        if self._node_parameters.settings.autostart:
            self._autostart_timer = self.create_timer(0.0, self._start_by_itself, clock=steady)
        self._jump_handle = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(seconds=-JUMP_BACK), on_clock_change=False),
            post_callback=self._on_clock_jump,
        )

    def _offer_services(self) -> None:
        # Callers wait in coroutines; a group that excludes would hold up everything else meanwhile.
        waiting = ReentrantCallbackGroup()
        # Of more callers than the middleware's ten, some would wait for ever: their calls push each other out.
        many = QoSProfile(depth=_CALLERS)
        offer = self.create_service
        offer(Trigger, "~/localize", self._on_localize, qos_profile=many, callback_group=waiting)
        offer(Trigger, "~/reload_map", self._on_reload_map, qos_profile=many, callback_group=waiting)
        offer(Trigger, "~/reset", self._on_reset, qos_profile=many)
        if self._node_parameters.settings.provide_reinitialize_service:
            offer(Empty, _REINITIALIZE, self._on_reinitialize, qos_profile=many)

    def _survive_impossible_transitions(self) -> None:
        """Refuses what cannot be done in the present state: rclpy raises, which would end the node."""
        service = self._service_change_state
        change_state = service.callback

        def answer(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            state = self._state_machine.current_state[1]
            try:
                return change_state(request, response)
            except RuntimeError as error:
                what = request.transition.label or request.transition.id
                self.get_logger().error(f"transition {what} is impossible in state {state}: {error}")
                response.success = False
                return response

        service.callback = answer

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads map and network; FAILURE and one line where that does not work."""
        return self._attempt("configure", self._load, super().on_configure, lambda _: self._release(), state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes to the cameras and starts to answer."""
        # Publishers first: they drop what is published before.
        return self._attempt(
            "activate", lambda: super(LocalizerNode, self).on_activate(state), self._listen, self.on_deactivate, state
        )

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops listening."""
        self._stop("the node was deactivated")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees map and network."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops whatever runs."""
        self._stop("the node is shutting down")
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Returns to unconfigured, so that a person can mend the cause and configure again."""
        self._stop("the node failed")
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> bool:
        """Stops listening, whatever state the node is in, and lets go of the core's log.

        Returns:
            Whether nothing runs any more; otherwise the network is still at a picture, for nobody.
        """
        ended = self._stop("the node is shutting down")
        logging.getLogger("dsformer_core").removeHandler(self._log_forwarder)
        return ended

    def _attempt(
        self,
        what: str,
        first: Callable[[], Any],
        then: Callable[[LifecycleState], TransitionCallbackReturn],
        undo: Callable[[LifecycleState], Any],
        state: LifecycleState,
    ) -> TransitionCallbackReturn:
        """Two steps of a transition, undone where one does not work: a user's mistake makes it fail, a bug an error."""
        try:
            first()
            return then(state)
        except DsformerError as error:
            reason, result = str(error), TransitionCallbackReturn.FAILURE
        except Exception as error:
            # rclpy drops exceptions of transition callbacks without a word.
            self.get_logger().error(traceback.format_exc())
            reason, result = f"{type(error).__name__}: {error}", TransitionCallbackReturn.ERROR
        self._last_error.set(reason)
        self.get_logger().error(f"cannot {what}: {reason}")
        undo(state)
        return result

    def _load(self) -> None:
        settings = self._node_parameters.settings
        engine = Engine.load(settings)
        mounting = Mounting(self, settings)
        self._configured.callback(mounting.close)
        if settings.publish_earth_to_map:
            self._earth_to_map = EarthToMap(self)
            self._configured.callback(self._earth_to_map.close)
        self._pipeline = Pipeline(self, engine, mounting, lambda: self._node_parameters.settings, self._last_error)
        self._configured.callback(self._pipeline.destroy)
        self._tell_where_the_map_lies()
        place_map, extractor = engine.place_map, engine.extractor
        self.get_logger().info(
            f"map {place_map.name} ({place_map.directory}): {place_map.count} references; {extractor.model_name} "
            f"with weights {extractor.weights} on {extractor.device} in {extractor.computing}, ready after "
            f"{extractor.startup_seconds:.1f} s; {libraries()}"
        )

    def _listen(self, _: LifecycleState) -> TransitionCallbackReturn:
        assert self._pipeline is not None
        self._pipeline.start()
        return TransitionCallbackReturn.SUCCESS

    def _start_by_itself(self) -> None:
        self.destroy_timer(self._autostart_timer)
        # Somebody may have been faster.
        untouched = self._state_machine.current_state[1] == "unconfigured"
        if untouched and self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def _stop(self, why: str) -> bool:
        return self._pipeline is None or self._pipeline.stop(why)

    def _release(self) -> None:
        self._map_loader.close()
        self._configured.close()
        self._pipeline = self._earth_to_map = None

    def _tell_where_the_map_lies(self) -> None:
        if self._pipeline is not None and self._earth_to_map is not None:
            frame = self._pipeline.engine.place_map.frame
            self._earth_to_map.send(frame, self._node_parameters.settings.map_frame)

    def _on_clock_jump(self, jump: TimeJump) -> None:
        if self._pipeline is not None:
            self._pipeline.clock_jumped_back("the clock", -jump.delta.nanoseconds * 1e-9)

    def _keep_house(self) -> None:
        # map_frame may be changed at any time.
        self._tell_where_the_map_lies()
        if self._pipeline is not None and self._pipeline.is_running:
            self._pipeline.keep_house()

    def _publish_diagnostics(self) -> None:
        pipeline = self._pipeline
        state = self._state_machine.current_state[1]
        entries = [node_status(diagnostic_name(self), state, pipeline.engine if pipeline else None, self._last_error)]
        if pipeline is not None and pipeline.is_running:
            entries += pipeline.diagnostics()
        array = DiagnosticArray(status=entries)
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics_publisher.publish(array)

    async def _on_localize(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = await self._localize_now()
        return response

    def _on_reinitialize(self, _: Empty.Request, response: Empty.Response) -> Empty.Response:
        """Answers at once, as AMCL does: a node of Nav2's behaviour trees waits 20 ms where nobody says otherwise."""
        if self._pipeline is not None:
            self._pipeline.forget(f"{_REINITIALIZE} was called: what earlier pictures said is forgotten")
            if self._pipeline.is_running:
                # Who wants to know what comes of it listens to ~/status.
                self._pipeline.request()
        return response

    async def _localize_now(self) -> Outcome:
        if self._pipeline is None or not self._pipeline.is_running:
            return Outcome(False, "the node is not active: configure and activate it first")
        return await self._pipeline.request()

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._pipeline is not None:
            self._pipeline.forget("~/reset was called: what earlier pictures said is forgotten")
        response.success, response.message = True, "what earlier pictures said is forgotten"
        return response

    async def _on_reload_map(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        pipeline = self._pipeline
        if pipeline is None:
            response.message = "no map is loaded yet: configure the node"
            return response
        try:
            loading = self._map_loader.load(pipeline.engine, self._node_parameters.settings)
        except DsformerError as error:
            response.message = str(error)
            return response
        engine, problem = await loading
        if engine is None or self._pipeline is not pipeline:
            response.message = f"the old map stays: {problem or 'the node was reconfigured meanwhile'}"
            self._last_error.set(response.message)
            self.get_logger().error(response.message)
            return response
        pipeline.replace_engine(engine)
        self._tell_where_the_map_lies()
        response.success = True
        response.message = f"map {engine.place_map.name} is loaded: {engine.place_map.count} references"
        self.get_logger().info(response.message)
        return response
