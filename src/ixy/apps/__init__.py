"""The apps: what people do with packets. Each is a compiled loop, short enough to be a lesson, and
who starts it.
"""
