"""Calls a server knowing only what its reflection tells: no generated code."""

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase)


class ReflectedApi:
    def __init__(self, channel: grpc.Channel):
        self._channel = channel
        self._database = ProtoReflectionDescriptorDatabase(channel)
        self._pool = DescriptorPool(self._database)

    def services(self) -> set[str]:
        return set(self._database.get_services())

    def call(self, service: str, method: str, timeout: float = 120, **fields):
        """The response, or an iterator of them if the method streams."""
        descriptor = self._pool.FindServiceByName(
            service).FindMethodByName(method)
        request = message_factory.GetMessageClass(descriptor.input_type)(
            **fields)
        response = message_factory.GetMessageClass(descriptor.output_type)
        make = (self._channel.unary_stream if descriptor.server_streaming
                else self._channel.unary_unary)
        stub = make(f"/{service}/{method}",
                    request_serializer=type(request).SerializeToString,
                    response_deserializer=response.FromString)
        return stub(request, timeout=timeout)
