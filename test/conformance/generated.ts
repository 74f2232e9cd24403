/** Streams made of what the format is made of, so that its corners come up often, and ways to cut them. */
import fc from 'fast-check'

/**
 * All names that occur, so that an EventSource can listen to them. None begins with `sse.`: those are the kit's own.
 */
export const TYPES: readonly string[] = ['a', 'b ', ' ', '*', 'é', 'error', 'open', 'message']

const LINE_ENDS = ['\n', '\n', '\n', '\r\n', '\r']

const value = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom('', 'x', ' x', ':', 'data: x', '1', '\0', 'x\0y', 'é', '世👋', '\uFEFF', '\t', 'y '),
  },
  {
    weight: 1,
    arbitrary: fc.string({ unit: 'grapheme-composite', maxLength: 8 }).map((text) => text.replace(/[\r\n]/g, '')),
  },
)
const separator = fc.constantFrom(':', ': ', ':  ', ' : ', '')
const line = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(fc.constant('data'), separator, value).map((parts) => parts.join('')) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('id'), separator, value).map((parts) => parts.join('')) },
  { weight: 3, arbitrary: fc.constantFrom(...TYPES, '').map((type) => `event: ${type}`) },
  // Short where they count: all of them are waited for.
  {
    weight: 1,
    arbitrary: fc.constantFrom('retry:1', 'retry: 2', 'retry: 100000000x', 'retry:-1', 'retry: 1.5', 'retry:  9'),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom('', 'Data', 'data ', '\uFEFFdata', 'foo', 'dat'), separator, value)
      .map((parts) => parts.join('')),
  },
  { weight: 8, arbitrary: fc.constant('') },
)
const text = fc
  .array(fc.tuple(line, fc.constantFrom(...LINE_ENDS)), { maxLength: 24 })
  .chain((lines) =>
    fc.tuple(
      fc.constantFrom('', '', '', '\uFEFF', '\uFEFF\uFEFF'),
      fc.constant(lines.flat().join('')),
      fc.constantFrom('', '', 'data', 'data: x', 'id: 9'),
    ),
  )
  .map((parts) => parts.join(''))

/** Some of them spoilt: bytes that are no UTF-8, and characters that are cut off. */
export const wireBytes: fc.Arbitrary<Uint8Array> = fc
  .tuple(text, fc.array(fc.tuple(fc.nat(), fc.constantFrom(0x80, 0xc3, 0xe4, 0xf0, 0xff)), { maxLength: 2 }))
  .map(([whole, spoilt]) => {
    const bytes = [...Buffer.from(whole)]
    for (const [at, byte] of spoilt) bytes.splice(at % (bytes.length + 1), 0, byte)
    return Uint8Array.from(bytes)
  })

/** Where to cut, as fractions of a length that is not known yet. */
export const cuts: fc.Arbitrary<readonly number[]> = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), {
  maxLength: 6,
})

export function cutAt(bytes: Uint8Array, fractions: readonly number[]): Uint8Array[] {
  const places = fractions.map((fraction) => Math.round(fraction * bytes.length)).sort((one, other) => one - other)
  return [0, ...places].map((from, i) => bytes.subarray(from, places[i])).filter(({ length }) => length > 0)
}
