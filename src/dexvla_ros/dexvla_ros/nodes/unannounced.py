"""What has arrived at a node without its executor being told.

An executor that works by events asks how much has arrived and from then on is told of more. rmw_fastrtps does
that in two steps (`set_on_new_request_callback`, `set_on_new_message_callback`); what arrives between them waits
until more comes. After a request to configure, or a latched message, no more comes.
"""

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.subscription import Subscription


def serve_unannounced(node: Node) -> None:
    """Answer requests and take latched messages that wait; does nothing where none does.

    To be called where the node's callbacks run, once its executor has taken it on and now and then later: a
    node creates entities whenever it configures.
    """
    for service in list(node.services):
        while True:
            with service.handle:
                taken = service.handle.service_take_request(service.srv_type.Request)
            request, header = taken or (None, None)
            if request is None:
                break
            service.send_response(service.callback(request, service.srv_type.Response()), header)
    for subscription in list(node.subscriptions):
        if subscription.qos_profile.durability is not DurabilityPolicy.TRANSIENT_LOCAL:
            continue
        while True:
            with subscription.handle:
                taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
            if taken is None:
                break
            # As the executors of rclpy do it: there is no other way to learn what the callback wants to know.
            alone = subscription._callback_type is Subscription.CallbackType.MessageOnly
            subscription.callback(*(taken[:1] if alone else taken))
