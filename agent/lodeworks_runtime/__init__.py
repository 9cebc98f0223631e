"""From a package to boxes: letterbox, decoders, NMS and the backends."""
