/** HTTP/2 frames, written by hand (RFC 9113, 4.1; RFC 7541, without compression). */
import type { Random } from '../proof/random.js'
import { hostileBytes, hostileText, mutate } from './hostile-text.js'

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

const TYPES = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goaway: 7,
  window: 8,
  more: 9,
}
const [END_STREAM, END_HEADERS] = [0x1, 0x4]

export function frame(type: number, flags: number, stream: number, payload: Buffer, length = payload.length): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream >>> 0, 5)
  return Buffer.concat([head, payload])
}

export const SETTINGS = frame(TYPES.settings, 0, 0, Buffer.alloc(0))

function literal(text: string): Buffer {
  const bytes = Buffer.from(text.slice(0, 126), 'latin1')
  return Buffer.concat([Buffer.from([bytes.length]), bytes])
}

function header(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0]), literal(name), literal(value)])
}

function requestBlock(random: Random): Buffer {
  const path = random.pick([
    '/stream',
    '/stream',
    '/stream?window=1',
    '/poll?wait=100',
    '/poll?from=earliest',
    '/ack',
    '/x',
  ])
  const method = random.pick(['GET', 'GET', 'GET', 'POST', 'HEAD', 'CONNECT', hostileText(random)])
  const fields = [
    header(':method', method),
    header(':scheme', 'http'),
    header(':path', path),
    header(':authority', 'a'),
  ]
  if (random.chance(0.2)) fields.push(header('last-event-id', hostileText(random)))
  if (random.chance(0.1)) fields.push(header(hostileText(random), hostileText(random)))
  if (random.chance(0.05)) fields.push(...Array.from({ length: 100 }, () => header('x-large', 'y'.repeat(120))))
  if (random.chance(0.05)) fields.splice(random.below(fields.length), 1)
  return Buffer.concat(fields)
}

/** A right request without a body. @param stream odd, and higher than any before */
export function getRequest(path: string, stream: number): Buffer {
  const fields = [header(':method', 'GET'), header(':scheme', 'http'), header(':path', path), header(':authority', 'a')]
  return frame(TYPES.headers, END_HEADERS | END_STREAM, stream, Buffer.concat(fields))
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value >>> 0)
  return bytes
}

function settings(random: Random): Buffer {
  return Buffer.concat(
    Array.from({ length: random.below(6) }, () => {
      const id = Buffer.alloc(2)
      id.writeUInt16BE(random.chance(0.9) ? random.below(9) : random.below(0x10000))
      return Buffer.concat([
        id,
        uint32(random.pick([0, 1, 100, 16_384, 65_535, 2 ** 24, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1])),
      ])
    }),
  )
}

/** One or several frames, most of them of a right form. */
export function hostileFrames(random: Random): Buffer {
  const stream = random.chance(0.8) ? 1 + 2 * random.below(6) : random.pick([0, 2, 4, 2 ** 31 - 1, 2 ** 32 - 1, 101])
  const code = uint32(random.pick([0, 1, 2, 5, 7, 8, 11, 99, 2 ** 32 - 1]))
  switch (random.below(14)) {
    case 0:
    case 1:
    case 2:
    case 3:
      return frame(TYPES.headers, END_HEADERS | (random.chance(0.8) ? END_STREAM : 0), stream, requestBlock(random))
    case 4: {
      const block = requestBlock(random)
      const cut = random.below(block.length)
      const rest = frame(TYPES.more, random.chance(0.8) ? END_HEADERS : 0, stream, block.subarray(cut))
      const between = random.chance(0.3) ? frame(TYPES.ping, 0, 0, Buffer.alloc(8)) : Buffer.alloc(0)
      return Buffer.concat([frame(TYPES.headers, END_STREAM, stream, block.subarray(0, cut)), between, rest])
    }
    case 5:
    case 6:
      return frame(TYPES.reset, 0, stream, code)
    case 7:
      return frame(TYPES.window, 0, random.pick([0, stream]), uint32(random.pick([0, 1, 65_535, 2 ** 31 - 1])))
    case 8:
      return frame(TYPES.settings, 0, random.chance(0.9) ? 0 : stream, settings(random))
    case 9:
      return frame(TYPES.data, random.below(2), stream, hostileBytes(random, 200))
    case 10:
      return frame(TYPES.goaway, 0, 0, Buffer.concat([uint32(random.below(20)), code, hostileBytes(random, 20)]))
    case 11:
      return Buffer.concat(Array.from({ length: 1 + random.below(60) }, () => frame(TYPES.ping, 0, 0, Buffer.alloc(8))))
    case 12: {
      // A block that cannot be decompressed.
      const block = mutate(requestBlock(random), random).subarray(0, 16_000)
      return frame(TYPES.headers, END_HEADERS | END_STREAM, stream, block)
    }
    default:
      // Unknown types must be ignored.
      return frame(10 + random.below(246), random.below(256), stream, hostileBytes(random, 60))
  }
}

/**
 * A connection with right frames up to the last one, whose size is wrong. Not after another error of the connection:
 * nghttp2 (1.61 in Node 20) then ends the process with a failed assertion, whatever the application is.
 */
export function wrongSize(random: Random): Buffer {
  const path = random.pick(['/stream', '/poll?wait=100'])
  const requests = Array.from({ length: random.below(4) }, (_, i) => getRequest(path, 2 * i + 1))
  const payload = hostileBytes(random, 40)
  return Buffer.concat([...requests, frame(random.below(10), random.below(256), 1, payload, random.below(0x10000))])
}

/** The statuses that are one byte in a compressed block (RFC 7541, appendix A). */
const STATUSES: Readonly<Record<number, string>> = {
  136: '200',
  137: '204',
  138: '206',
  139: '304',
  140: '400',
  141: '404',
  142: '500',
}

/** The statuses of the responses in what a server sent. */
export function statusesIn(received: Buffer): string[] {
  const statuses: string[] = []
  for (let at = 0; at + 9 < received.length; at += 9 + received.readUIntBE(at, 3)) {
    if (received[at + 3] === TYPES.headers) statuses.push(STATUSES[received[at + 9] ?? 0] ?? 'another status')
  }
  return statuses
}
