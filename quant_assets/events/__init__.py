"""Events: envelope, payloads, topics, brokers. What belongs here: nothing that knows Dagster."""
