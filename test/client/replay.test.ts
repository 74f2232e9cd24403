import { expect } from 'chai'
import fc from 'fast-check'
import { ClientEvent } from '../../lib/client/listeners.js'
import { advance, createReplay, isBeyond, missedEvents, type Replay } from '../../lib/client/replay.js'
import { range } from '../helpers/range.js'

const event = (id: string, type = 'n') => new ClientEvent(type, id, id)

describe('positions in a shared stream', () => {
  it('are compared channel by channel', () => {
    expect(isBeyond('a-2.b-3', 'a-1.b-3')).to.equal(true)
    expect(isBeyond('a-2.b-3', 'a-2.b-3')).to.equal(false)
    expect(isBeyond('a-2.b-3', 'a-10.b-4')).to.equal(false)
    expect(isBeyond('a-11.b-3', 'a-10.b-4')).to.equal(true)
    expect(isBeyond('c-1', 'a-9'), 'a log that was replaced').to.equal(true)
    expect(isBeyond('a-1', '')).to.equal(true)
    expect(isBeyond('', 'a-1')).to.equal(false)
  })

  it('of other servers are only compared for equality', () => {
    expect(isBeyond('41', '41')).to.equal(false)
    expect(isBeyond('41', '42')).to.equal(true)
    expect(advance('41', event('42'))).to.equal('42')
  })

  it('advance in each channel separately, and lose channels that no longer exist', () => {
    expect(advance('a-5.b-7', event('a-6.b-3'))).to.equal('a-6.b-7')
    expect(advance('a-5.b-7', event('c-1.b-7'))).to.equal('c-1.b-7')
    expect(advance('a-5', event('a-4'))).to.equal(undefined)
    expect(advance('a-5', event('', 'sse.gap'))).to.equal('a-5')
    expect(advance('a-60', event('a-50', 'sse.reset')), 'back, after a reset').to.equal('a-50')
  })
})

describe('the latest events of a shared stream', () => {
  const ids = (events: ReturnType<Replay['since']>) => events?.map(({ id, type }) => id || type)

  it('are replayed from any kept position', () => {
    const replay = createReplay('a-1')
    for (const n of [2, 3]) expect(replay.push(event(`a-${n}`))).to.equal(true)
    replay.push(event('', 'sse.gap'))
    expect(replay.push(event('', 'typing')), 'for current listeners only').to.equal(true)
    replay.push(event('a-9'))
    expect(replay.push(event('a-3'))).to.equal(false)
    expect(replay.position).to.equal('a-9')
    expect(ids(replay.since('a-1'))).to.deep.equal(['a-2', 'a-3', 'sse.gap', 'a-9'])
    expect(ids(replay.since('a-3'))).to.deep.equal(['sse.gap', 'a-9'])
    expect(ids(replay.since('a-20')), 'ahead').to.deep.equal([])
    expect(ids(replay.since('a-0'))).to.equal(undefined)
    expect(ids(replay.since('z-1'))).to.equal(undefined)
  })

  it('are not replayed from an older position than the first known one', () => {
    const replay = createReplay('')
    replay.push(event('a-5', 'sse.open'))
    replay.push(event('a-6'))
    expect(ids(replay.since('a-4'))).to.equal(undefined)
    expect(ids(replay.since('a-5'))).to.deep.equal(['a-6'])
  })

  it('include a gap after the position from which a listener continues when it was too far behind', () => {
    const replay = createReplay('a-5')
    replay.push(event('', 'sse.gap'))
    expect(missedEvents(replay, 'a-3').map(({ type, id }) => `${type} ${id}`)).to.deep.equal([
      'sse.reset a-5',
      'sse.gap ',
    ])
    replay.push(event('a-9'))
    const missed = missedEvents(replay, 'a-3').map(({ type, id }) => `${type} ${id}`)
    expect(missed).to.deep.equal(['sse.reset a-9'])
    expect(ids(missedEvents(replay, 'a-5'))).to.deep.equal(['sse.gap', 'a-9'])
  })

  it('include each reset of a group, of which only the last has an id', () => {
    const replay = createReplay('a-5.b-5')
    replay.push(event('', 'sse.reset'))
    expect(replay.position).to.equal('a-5.b-5')
    replay.push(event('c-1.d-1', 'sse.reset'))
    replay.push(event('c-2.d-1'))
    expect(ids(replay.since('a-5.b-5'))).to.deep.equal(['sse.reset', 'c-1.d-1', 'c-2.d-1'])
    expect(ids(replay.since('c-1.d-1'))).to.deep.equal(['c-2.d-1'])
  })

  it('are not replayed to a listener that is ahead in a log that was replaced', () => {
    const replay = createReplay('a-2.b-5')
    replay.push(event('a-2.c-3', 'sse.open'))
    expect(replay.since('a-2.b-5')).to.equal(undefined)
    expect(missedEvents(replay, 'a-2.b-5').map(({ type, id }) => `${type} ${id}`)).to.deep.equal(['sse.reset a-2.c-3'])
    expect(ids(replay.since('a-2.c-3'))).to.deep.equal([])
    expect(ids(replay.since('a-9.c-9')), 'ahead in the same logs').to.deep.equal([])
  })

  it('include the number of dropped events, but no other event without an id', () => {
    const replay = createReplay('a-1')
    for (const type of ['sse.dropped', 'typing', 'sse.close']) replay.push(event('', type))
    replay.push(event('a-5'))
    expect(ids(replay.since('a-1'))).to.deep.equal(['sse.dropped', 'a-5'])
  })

  it('are not replayed from a position whose gap is no longer kept', () => {
    const replay = createReplay('a-5')
    replay.push(event('', 'sse.gap'))
    for (const n of range(9, 263)) replay.push(event(`a-${n}`))
    expect(replay.since('a-5')).to.have.length(256)
    // The gap is evicted.
    replay.push(event('a-264'))
    expect(replay.since('a-5')).to.equal(undefined)
    expect(replay.since('a-9')).to.have.length(255)
    replay.push(event('a-265'))
    expect(replay.since('a-9')).to.have.length(256)
  })

  it('are bounded in number and size', () => {
    const replay = createReplay('a-0')
    for (const n of range(1, 1000)) replay.push(event(`a-${n}`))
    expect(replay.since('a-743')).to.equal(undefined)
    expect(replay.since('a-744')).to.have.length(256)
    replay.push(new ClientEvent('n', 'x'.repeat(300_000), 'a-1001'))
    expect(replay.since('a-1000')).to.equal(undefined)
    expect(replay.since('a-1001')).to.deep.equal([])
    replay.push(event('a-1002'))
    expect(ids(replay.since('a-1001'))).to.deep.equal(['a-1002'])
  })

  it('complete a follower from any position, in any order of the channels of the next stream', () => {
    const steps = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 60 })
    fc.assert(
      fc.property(steps, fc.nat(), fc.nat(), fc.infiniteStream(fc.nat()), (channels, stopAt, leadAt, choices) => {
        const order = (all: readonly string[], from: Record<string, number>): ClientEvent[] => {
          const at = { ...from }
          return all.map((channel) => {
            at[channel] = (at[channel] ?? 0) + 1
            return new ClientEvent('n', `${channel}-${at[channel]}`, `a-${at.a}.b-${at.b}.c-${at.c}`)
          })
        }
        const first = order(channels, { a: 0, b: 0, c: 0 })
        const stop = stopAt % (first.length + 1)
        const lead = leadAt % (first.length + 1)
        const seen: string[] = []
        let position = 'a-0.b-0.c-0'
        const take = (each: ClientEvent): void => {
          const next = advance(position, each)
          if (next === undefined) return
          position = next
          seen.push(each.data)
        }
        first.slice(0, stop).forEach(take)
        // The new leader reads the rest from its own position, in another order of the channels.
        const rest = [...channels.slice(lead)]
        const shuffled: string[] = []
        while (rest.length > 0) {
          const [picked = ''] = rest.splice((choices.next().value ?? 0) % rest.length, 1)
          shuffled.push(picked)
        }
        const count = (name: string) => channels.slice(0, lead).filter((channel) => channel === name).length
        const leader = createReplay(first[lead - 1]?.id ?? 'a-0.b-0.c-0')
        if (isBeyond(leader.position, position)) return
        for (const each of order(shuffled, { a: count('a'), b: count('b'), c: count('c') })) {
          leader.push(each)
          take(each)
        }
        expect(seen).to.have.members(first.map(({ data }) => data))
        expect(seen).to.have.length(first.length)
      }),
    )
  })
})
