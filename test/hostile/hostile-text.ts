/** Text as an attacker writes it. */
import type { Random } from '../proof/random.js'

/** What ends, splits or spoils a line, a field, a header, a name or a number somewhere. */
export const BITS: readonly string[] = [
  '\r',
  '\n',
  '\r\n',
  '\n\n',
  '\r\r',
  '\u2028',
  '\u2029',
  '\u0085',
  '\0',
  '\uFEFF',
  '\ud800',
  '\udfff',
  '\ud83d\ude00',
  ' ',
  '\t',
  '\v',
  '\f',
  '\x7f',
  '\x1b[2J',
  ':',
  ': ',
  '%0d%0a',
  '%00',
  '%',
  '%u',
  '/',
  '../',
  '\\',
  '"',
  "'",
  '`',
  '{',
  '}',
  '{}',
  '[]',
  'null',
  'true',
  '-1',
  '1e999',
  'NaN',
  '0x10',
  '9007199254740993',
  '__proto__',
  'constructor',
  'toString',
  'data: x',
  'event: sse.close',
  'id: 1',
  'retry: 1',
  '\ndata: x\n\n',
  '\n\nevent: sse.close\ndata: {}\n\n',
  '\nid: x\n',
  'sse.',
  'sse.close',
  'sse.completed',
  '*',
  '?',
  '#',
  '&',
  '=',
  ';',
  ',',
  '.',
  '-',
  '~',
  '|',
  '$1',
  '<b>',
  'é',
  '世',
]

/** @param least how many pieces it has at least */
export function hostileText(random: Random, least = 0): string {
  const pieces = least + random.below(5)
  let text = ''
  for (let i = 0; i < pieces; i++) {
    const kind = random.below(20)
    if (kind === 0) text += String.fromCharCode(random.below(0x10000))
    else if (kind === 1) text += random.pick(BITS).repeat(random.below(300))
    else if (kind < 6) text += random.below(1e9).toString(36)
    else text += random.pick(BITS)
  }
  return text
}

export function hostileBytes(random: Random, most: number): Buffer {
  const bytes = Buffer.alloc(random.below(most + 1))
  for (let i = 0; i < bytes.length; i++) bytes[i] = random.below(256)
  return bytes
}

/** A value that JSON can express, of any shape. */
export function hostileValue(random: Random, depth = 0): unknown {
  const kind = random.below(depth > 2 ? 8 : 11)
  if (kind === 0) return null
  if (kind === 1) return random.chance(0.5)
  if (kind === 2) return random.pick([0, -0, -1, 1, 0.5, 1e308, 2 ** 53, -(2 ** 53), Date.now()])
  if (kind < 8) return hostileText(random)
  if (kind === 8) return Array.from({ length: random.below(4) }, () => hostileValue(random, depth + 1))
  const entries = Array.from({ length: random.below(4) }, () => [hostileText(random), hostileValue(random, depth + 1)])
  return Object.fromEntries(entries) as unknown
}

/** Changes, removes or repeats some bytes. */
export function mutate(bytes: Buffer, random: Random): Buffer {
  const changed = [...bytes]
  for (let i = random.below(4) + 1; i > 0; i--) {
    const at = random.below(changed.length + 1)
    const kind = random.below(4)
    if (kind === 0) changed[at % Math.max(1, changed.length)] = random.below(256)
    else if (kind === 1) changed.splice(at, random.below(8) + 1)
    else if (kind === 2) changed.splice(at, 0, ...Buffer.from(random.pick(BITS)))
    else changed.splice(at, 0, ...changed.slice(at, at + random.below(32)))
  }
  return Buffer.from(changed)
}
