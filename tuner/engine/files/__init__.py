"""A trial's folder on the node that trains it, and its way to the driver."""
