import { expect } from 'chai'
import fc from 'fast-check'
import { createEpoch } from '../../lib/core/position.js'
import { parseCursor, printCursor } from '../../lib/wire/cursor.js'

const epoch = fc.string({ unit: fc.constantFrom(...'abcxyz0189'), minLength: 6, maxLength: 6 })
const position = fc.record({ epoch, offset: fc.maxSafeNat() })
const positions = fc.uniqueArray(position, { selector: (it) => it.epoch, minLength: 1, maxLength: 8 })

describe('a cursor', () => {
  it('is parsed as it was printed, for one to eight channels', () => {
    fc.assert(
      fc.property(positions, (them) => {
        expect(parseCursor(printCursor(them))).to.deep.equal(them)
      }),
    )
  })

  it('has a length and characters that need no CORS preflight, up to offset 99,999,999', () => {
    const them = Array.from({ length: 8 }, () => ({ epoch: createEpoch(), offset: 99_999_999 }))
    expect(printCursor(them)).to.match(/^[a-z0-9.-]{1,128}$/)
  })

  it('counts as absent if it is malformed, and never causes an error', () => {
    for (const text of [
      undefined,
      '',
      '-',
      'a',
      'a-',
      '-1',
      'a-01',
      'a--1',
      'A-1',
      'a-1.',
      '.a-1',
      'a-1.a-2',
      'a-1 ',
      'a-1\0',
      'é-1',
      'a-9007199254740993',
      `${'a'.repeat(17)}-1`,
      Array.from({ length: 9 }, (_, i) => `a${i}-1`).join('.'),
      'a'.repeat(15_000),
      5,
      null,
    ]) {
      expect(parseCursor(text), String(text).slice(0, 40)).to.equal(undefined)
    }
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const parsed = parseCursor(text)
        if (parsed) expect(printCursor(parsed)).to.equal(text)
      }),
    )
  })
})

describe('an epoch', () => {
  it('is six characters of a-z and 0-9', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (random) => {
        expect(createEpoch(() => random)).to.match(/^[a-z0-9]{6}$/)
      }),
    )
  })
})
