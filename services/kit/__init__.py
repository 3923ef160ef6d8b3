"""Plumbing that every process shares: settings, Kafka clients, the definitions follower, health, logs, the clock.

Knows nothing of segments or rules beyond `schemas`.
"""
