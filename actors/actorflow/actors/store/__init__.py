"""Store adapters. Each implements `actorflow.actors.ports.PartitionStore`; none knows another."""
