"""A service of Selection that answers at once, and fails where it is told."""

import concurrent.futures
import sys
import threading
import zlib

import grpc
from headwise.v1 import selection_pb2 as pb
from headwise.v1 import selection_pb2_grpc as pb_grpc


def fake_row(document: pb.SelectionDocument, number: int) -> pb.SelectionRow:
    """By the text alone: a token for each byte."""
    num_tokens = len(document.text)
    row = pb.SelectionRow(doc_id=document.id or f"document:{number}",
                          domain=document.domain, n_tokens=num_tokens)
    if num_tokens == 0:
        row.flags.append("empty_text")
        return row
    if not document.id:
        row.flags.append("made_up_id")
    row.loss_base = 2.0
    row.loss_masked = 2.0 + zlib.crc32(document.text) / 2**34
    row.score = (row.loss_masked - row.loss_base) / row.loss_base
    row.nll_base = row.loss_base * num_tokens
    row.nll_masked = row.loss_masked * num_tokens
    row.repetition = 0.25
    return row


class FakeSelection(pb_grpc.SelectionServicer):
    """failures: one for each call of ScoreDocuments or WatchJob until they are
    used up, (answers before it, code)."""

    def __init__(self):
        self.failures: list[tuple[int, grpc.StatusCode]] = []
        self.calls: list[list[pb.SelectionDocument]] = []
        self.ended = threading.Event()  # a call, however
        self._server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(8),
            options=[("grpc.max_receive_message_length", 16 << 20)])
        pb_grpc.add_SelectionServicer_to_server(self, self._server)
        self.address = (
            f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}")
        self._server.start()

    def close(self):
        self._server.stop(grace=None).wait()

    def ScoreDocuments(self, requests, context):
        context.add_callback(self.ended.set)
        left, code = self.failures.pop(0) if self.failures else (-1, None)
        self.calls.append([])
        self.terms = next(requests).terms
        for request in requests:
            for document in request.documents:
                if left == 0:
                    context.abort(code, "as told")
                left -= 1
                number = len(self.calls[-1])
                self.calls[-1].append(document)
                yield pb.ScoreDocumentsResponse(
                    rows=[fake_row(document, number)])
        if left == 0:
            context.abort(code, "as told")

    def WatchJob(self, request, context):
        left, code = self.failures.pop(0) if self.failures else (-1, None)
        for done in range(4):
            if left == 0:
                context.abort(code, "as told")
            left -= 1
            yield pb.SelectionJob(
                job_id=request.job_id, shards_done=done, shards_total=3,
                state=(pb.SELECTION_JOB_STATE_DONE if done == 3
                       else pb.SELECTION_JOB_STATE_RUNNING))


if __name__ == "__main__":  # until standard input ends
    fake = FakeSelection()
    print(fake.address, flush=True)
    sys.stdin.read()
    fake.close()
