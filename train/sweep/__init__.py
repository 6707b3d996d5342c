"""Many trainings and searches: planned, run one after the other or side by side, and gone on with after a stop.

`plan` reads the file of a sweep and makes its jobs; `jobs` is what one does, in any process, from a description of it
alone; `executors` and `on_ray` run them, in this process or on the workers of a Ray cluster; `index` keeps what came of
each; `running` is all of it together.
"""
