"""Ingest: takes events over HTTP and answers 202 once Kafka has acknowledged them.

It knows events, keys and Kafka, and nothing of rules, segments or Redis. Its invariant: what was answered 202 is in Kafka,
and what is in Kafka through this door is a valid event of the tenant whose key sent it.
"""
