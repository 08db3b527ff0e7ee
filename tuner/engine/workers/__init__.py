"""Ray's actors: a trial's process, alone or at the head of a group of workers."""
