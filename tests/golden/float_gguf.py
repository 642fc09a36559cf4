"""Writes a copy of a GGUF file whose tensors are all fp32."""

import struct

import numpy

ALIGNMENT = 32
FORMATS = {0: '<B', 1: '<b', 2: '<H', 3: '<h', 4: '<I', 5: '<i', 6: '<f',
           7: '<?', 10: '<Q', 11: '<q', 12: '<d'}
STRING, ARRAY = 8, 9
F32, Q4_1, Q8_0 = 0, 3, 8


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def number(self, form):
        value, = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def string(self):
        length = self.number('<Q')
        self.at += length
        return self.data[self.at - length:self.at]

    def skip_value(self, kind):
        if kind == STRING:
            self.string()
        elif kind == ARRAY:
            kind, count = self.number('<I'), self.number('<Q')
            if kind in FORMATS:
                self.at += count * struct.calcsize(FORMATS[kind])
            else:
                for _ in range(count):
                    self.skip_value(kind)
        else:
            self.number(FORMATS[kind])


def dequantize(data, kind, count):
    """`count` values of the tensor at the begin of `data`, fp32."""
    if kind == F32:
        return numpy.frombuffer(data, '<f4', count)
    blocks = count // 32
    if kind == Q4_1:
        raw = numpy.frombuffer(data, numpy.uint8, blocks * 20)
        raw = raw.reshape(blocks, 20)
        scales = raw[:, :4].copy().view('<f2').astype(numpy.float32)
        low, high = raw[:, 4:] & 15, raw[:, 4:] >> 4
        values = numpy.concatenate((low, high), 1).astype(numpy.float32)
        return values * scales[:, :1] + scales[:, 1:]
    if kind == Q8_0:
        raw = numpy.frombuffer(data, numpy.uint8, blocks * 34)
        raw = raw.reshape(blocks, 34)
        scales = raw[:, :2].copy().view('<f2').astype(numpy.float32)
        return raw[:, 2:].view(numpy.int8).astype(numpy.float32) * scales
    raise ValueError(f'tensor type {kind} is not known here')


def padded(size):
    return (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def write_float_copy(source, target):
    data = source.read_bytes()
    reader = Reader(data)
    reader.at = 8
    num_tensors, num_fields = reader.number('<Q'), reader.number('<Q')
    for _ in range(num_fields):
        reader.string()
        reader.skip_value(reader.number('<I'))
    end_of_fields = reader.at
    tensors = []
    for _ in range(num_tensors):
        name = reader.string()
        dims = [reader.number('<Q') for _ in range(reader.number('<I'))]
        tensors.append((name, dims, reader.number('<I'), reader.number('<Q')))
    begin = padded(reader.at)
    with open(target, 'wb') as file:
        file.write(data[:end_of_fields])
        offset = 0
        for name, dims, _, _ in tensors:
            file.write(struct.pack('<Q', len(name)) + name
                       + struct.pack('<I', len(dims))
                       + struct.pack(f'<{len(dims)}Q', *dims)
                       + struct.pack('<IQ', F32, offset))
            offset += padded(4 * int(numpy.prod(dims)))
        for name, dims, kind, offset in tensors:
            file.write(b'\0' * (padded(file.tell()) - file.tell()))
            count = int(numpy.prod(dims))
            file.write(dequantize(data[begin + offset:], kind, count)
                       .astype('<f4').tobytes())
