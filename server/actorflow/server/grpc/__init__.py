"""The gRPC side of the server: the services that Dapr's SDKs speak. Needs the extra `grpc`."""
