"""Reads the API's requests, so that bytes which are none get a status that says so, instead of gRPC's "unknown"."""
from __future__ import annotations

from typing import Any, Awaitable, Callable

import grpc
from google.protobuf.message import DecodeError


class RequestReader(grpc.aio.ServerInterceptor):
    """In front of every method."""

    async def intercept_service(
            self, continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]]",
            handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def read(data: bytes, context: "grpc.aio.ServicerContext") -> Any:
            try:
                request = handler.request_deserializer(data)
            except DecodeError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"these {len(data)} bytes are no request of "
                                    f"{handler_call_details.method}: {error}")
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(read, response_serializer=handler.response_serializer)
