"""Hardware drivers: one device class per product, and the driver that keeps any of them safe. No ROS.

`device` says what a device is, `driver` connects it, watches it and moves it, `configuration` reads
config/drivers/*.yaml. The nodes are `dexvla_ros.nodes.{piper,inspire,leap}_node`.
"""
