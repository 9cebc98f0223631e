"""How programs of Lodeworks reach a controller: dial, keepalive, backoff, diagnosis, blobs by range.

Used by the SDK, the worker and the device alike; loads grpc and nothing heavier.
"""
