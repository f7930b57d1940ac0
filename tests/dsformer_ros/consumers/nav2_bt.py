"""Nav2's behaviour tree: the action node `ReinitializeGlobalLocalization`.

Read in navigation2, main of August 2026: nav2_behavior_tree, reinitialize_global_localization_service.hpp and
bt_service_node.hpp. The tree does not load unless the service is there when it is made (wait_for_service_timeout, one
second by default), and a call that is not answered within server_timeout fails the node.
"""

SERVICE, TYPE = "reinitialize_global_localization", "std_srvs/srv/Empty"
WAIT_FOR_SERVICE = 1.0
