import { expect } from 'chai'
import fc from 'fast-check'
import { compositeKey } from '../../lib/core/composite-key.js'

/** Any UTF-16 text, lone surrogates included, and often the characters that separate and escape. */
const PART = fc.oneof(
  fc.string({
    unit: fc.constantFrom(':', '%', '\n', 'u', 'd', '8', '0', 'a', '/', '{', '}', '\ud800', '\udfff', '\ufffd', 'é'),
  }),
  fc.string({ unit: 'binary' }),
  fc.string(),
)
const PARTS = fc.array(PART, { minLength: 1, maxLength: 4 }) as fc.Arbitrary<[string, ...string[]]>

/** As Redis stores it. */
function stored(parts: readonly [string, ...string[]]): string {
  return Buffer.from(compositeKey(...parts)).toString('hex')
}

describe('compositeKey', () => {
  it('returns different keys for different parts, in memory and as UTF-8', () => {
    fc.assert(
      fc.property(PARTS, PARTS, (one, other) => {
        const same = JSON.stringify(one) === JSON.stringify(other)
        expect(compositeKey(...one) === compositeKey(...other)).to.equal(same)
        expect(stored(one) === stored(other)).to.equal(same)
      }),
      { numRuns: 2000 },
    )
  })

  it('returns different keys for one text that is split in different places', () => {
    fc.assert(
      fc.property(PARTS, fc.nat(), fc.constantFrom(':', '\n', '', '%', '%3A'), (parts, at, separator) => {
        const text = parts.join(separator)
        const split = [text.slice(0, at % (text.length + 1)), text.slice(at % (text.length + 1))] as const
        const same = JSON.stringify(parts) === JSON.stringify(split)
        expect(compositeKey(...parts) === compositeKey(...split)).to.equal(same)
      }),
      { numRuns: 2000 },
    )
  })

  it('can be decoded into its parts', () => {
    fc.assert(
      fc.property(PARTS, (parts) => {
        const back = compositeKey(...parts)
          .split(':')
          .map((part) =>
            part
              .split(/%u([0-9a-f]{4})/)
              .map((piece, i) => (i % 2 ? String.fromCharCode(Number.parseInt(piece, 16)) : decodeURIComponent(piece)))
              .join(''),
          )
        expect(back).to.deep.equal(parts)
      }),
    )
  })

  it('keeps plain names readable', () => {
    expect(compositeKey('user', 'acme', 'ada')).to.equal('user:acme:ada')
    expect(compositeKey('acme\nx', 'a:b')).to.equal('acme%0Ax:a%3Ab')
  })
})
