import { expect } from 'chai'
import fc from 'fast-check'
import { feedEvent, readFeedEvent } from '../../example/server/workbench/feed.js'
import { SCENARIOS } from '../../example/server/workbench/scenarios.js'
import { changeClient, changeProducer, DEFAULT_CLIENT, LIMITS } from '../../example/server/workbench/settings.js'
import type { ClientSample, Sample } from '../../example/server/workbench/state.js'
import { Tally } from '../../example/server/workbench/tally.js'
import { appendFrame, type Frame } from '../../example/web/src/workbench/frames.js'
import { range } from '../helpers/range.js'

describe("the workbench's tally", () => {
  it('counts missed events, with any order and repetition of the others', () => {
    const numbers = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 400 })
    fc.assert(
      fc.property(numbers, (got) => {
        const tally = new Tally()
        for (const number of got) tally.add(number)
        const distinct = new Set(got)
        const missing = range(Math.min(...got), Math.max(...got)).filter((number) => !distinct.has(number))
        expect(tally).to.include({
          got: distinct.size,
          repeated: got.length - distinct.size,
          missed: missing.length,
          missedHigh: missing.filter((number) => number % 10 === 0).length,
          highest: Math.max(...got),
        })
      }),
    )
  })
})

describe("the workbench's events", () => {
  it('contain their number and time, and have the chosen size', () => {
    const before = Date.now()
    for (const bytes of [32, 16_384]) {
      const { data } = feedEvent(1_234_567, bytes)
      expect(data).to.have.length(bytes)
      const { number, madeAt } = readFeedEvent(String(data))
      expect(number).to.equal(1_234_567)
      expect(madeAt).to.be.within(before, Date.now())
    }
  })
})

describe("the workbench's scenarios", () => {
  it('have only settings that a user can choose', () => {
    for (const { producer, clients } of SCENARIOS) {
      expect(changeProducer(producer, producer)).to.deep.equal(producer)
      expect(clients.length).to.be.at.most(LIMITS.clients)
      for (const client of clients) expect(changeClient(DEFAULT_CLIENT, client)).to.deep.equal(client)
    }
  })
})

describe("the workbench's frames", () => {
  function sample(at: number, published: number, dropped: Readonly<Record<string, number>>): Sample {
    const client = { id: '1-1', dropped } as unknown as ClientSample
    return { at, published, clients: [client] } as unknown as Sample
  }

  function append(samples: readonly Sample[]): readonly Frame[] {
    return samples.reduce<readonly Frame[]>(appendFrame, [])
  }

  it('have rates over about a second', () => {
    const frames = append(range(0, 20).map((n) => sample(n * 250, n * 10, { queue_full: n * 2, shed: n * 3 })))
    const last = frames.at(-1)
    expect(last?.publishedPerSecond).to.equal(40)
    expect(last?.clients.get('1-1')).to.include({ droppedPerSecond: 20, dropped: 100 })
    expect(frames[0]).to.include({ publishedPerSecond: 0 })
  })

  it('restart their rates when the counts restart', () => {
    const frames = append([sample(0, 1000, { shed: 50 }), sample(1000, 10, {})])
    expect(frames.at(-1)?.publishedPerSecond).to.equal(0)
    expect(frames.at(-1)?.clients.get('1-1')).to.include({ droppedPerSecond: 0 })
  })

  it('cover the last minute', () => {
    const frames = append(range(0, 400).map((n) => sample(n * 250, n, {})))
    expect(frames).to.have.length(240)
    expect(frames[0]?.at).to.equal(400 * 250 - 60_000 + 250)
  })
})
