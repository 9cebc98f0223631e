"""One file per kind of task: build its inputs, check its outputs, make its product."""
