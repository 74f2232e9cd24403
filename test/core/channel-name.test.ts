import { expect } from 'chai'
import fc from 'fast-check'
import { assertChannel, channel, normalizeChannels } from '../../lib/core/channel-name.js'

describe('a channel name', () => {
  it('has no characters of patterns, hash tags or controls', () => {
    for (const name of [
      '',
      'a*',
      'a?',
      '[a]',
      '{a}',
      'a\\',
      'a b',
      'a\n',
      'a\0',
      'é',
      '"',
      'x'.repeat(201),
      5,
      null,
      undefined,
    ]) {
      expect(() => assertChannel(name), String(name))
        .to.throw()
        .with.property('code', 'ERR_SSE_CHANNEL_INVALID')
    }
    assertChannel("orders:acme/eu-1_@.%2A=~!+,;$&'()")
  })

  it('is different for different lists of parts, for any parts', () => {
    const parts = fc.array(fc.string({ unit: 'binary', minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 3 })
    fc.assert(
      fc.property(parts, parts, (a, b) => {
        const [left, right] = [channel(...a), channel(...b)]
        expect(left === right).to.equal(JSON.stringify(a) === JSON.stringify(b))
      }),
    )
    expect(channel('messages', 'acme', 'a:b*')).to.equal('messages:acme:a%3Ab%2A')
    expect(() => channel('a', ''))
      .to.throw()
      .with.property('code', 'ERR_SSE_CHANNEL_INVALID')
    expect(() => channel('a', '\uD800'))
      .to.throw()
      .with.property('code', 'ERR_SSE_CHANNEL_INVALID')
  })

  it('occurs once in a normalized list, which is sorted and has at most eight names', () => {
    expect(normalizeChannels(['b', 'a', 'b'])).to.deep.equal(['a', 'b'])
    expect(normalizeChannels('a')).to.deep.equal(['a'])
    for (const wrong of [[], Array.from({ length: 9 }, (_, i) => `c${i}`)]) {
      expect(() => normalizeChannels(wrong))
        .to.throw()
        .with.property('code', 'ERR_SSE_CHANNEL_INVALID')
    }
  })
})
