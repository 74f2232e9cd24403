import assert from 'node:assert/strict'
import { expect } from 'chai'
import fc from 'fast-check'
import { range } from '../helpers/range.js'
import { ORDINARY, run, Setup, steps } from './reader-setup.js'

const STEPS = steps([...ORDINARY, 'grant', 'acknowledge', 'acknowledge'])

/** Acknowledges all events until no more arrive. */
async function settle(setup: Setup): Promise<void> {
  for (let before = -1; before < setup.acknowledged; ) {
    before = setup.acknowledged
    setup.acknowledge(Number.MAX_SAFE_INTEGER)
    await setup.settle()
  }
}

describe('a reader with an ack window', () => {
  it('never runs further ahead of its client than the window, and sends every entry once and in order', async () => {
    await fc.assert(
      fc.asyncProperty(STEPS, fc.integer({ min: 1, max: 10 }), async (sequence, window) => {
        const setup = new Setup()
        await setup.open(undefined, window)
        await run(setup, sequence, () => {
          const ahead = setup.stream.ids().length - setup.acknowledged
          assert.ok(ahead <= window, `${ahead} events ahead of the client, and not ${window} at most`)
          assert.equal(setup.reader?.unacknowledged, ahead)
        })
        await settle(setup)
        expect(setup.stream.seen()).to.deep.equal(range(1, setup.published))
      }),
      { numRuns: 500 },
    )
  })

  it('does not wait for acknowledgements of lost entries', async () => {
    await fc.assert(
      fc.asyncProperty(STEPS, fc.integer({ min: 1, max: 10 }), async (sequence, window) => {
        const setup = new Setup(7)
        await setup.open(undefined, window)
        await run(setup, sequence, () => {
          const ahead = setup.stream.ids().length - setup.acknowledged
          assert.ok(ahead <= window, `${ahead} events ahead of the client, and not ${window} at most`)
          assert.equal(setup.reader?.unacknowledged, ahead)
        })
        await settle(setup)
        const gone = (setup.stream.seen() as (number | { from: number; to: number })[]).map((it) =>
          typeof it === 'number' ? 1 : it.to - it.from + 1,
        )
        expect(gone.reduce((sum, count) => sum + count, 0)).to.equal(setup.published)
      }),
      { numRuns: 500 },
    )
  })

  it('restarts its window with a new log, and ignores acknowledgements of the old one', async () => {
    const setup = new Setup()
    await setup.open(undefined, 3)
    const { epoch } = setup.channel
    await setup.publish(5)
    setup.broker.deliver(5)
    await setup.settle()
    expect(setup.reader?.unacknowledged).to.equal(3)
    setup.broker.lose()
    await setup.publish(5)
    await setup.broker.interrupt('log')
    await setup.settle()
    expect(setup.reader?.unacknowledged, 'of the new log').to.equal(3)
    expect(setup.stream.seen().slice(-3)).to.deep.equal([6, 7, 8])
    setup.reader?.acknowledge([{ epoch, offset: 3 }])
    expect(setup.reader?.unacknowledged).to.equal(3)
    setup.reader?.acknowledge([{ epoch: setup.channel.epoch, offset: 99 }])
    expect(setup.reader?.unacknowledged, 'after an acknowledgement of events that were not sent').to.equal(3)
    setup.reader?.acknowledge([{ epoch: setup.channel.epoch, offset: 2 }])
    await setup.settle()
    expect(setup.stream.seen().filter((it) => typeof it === 'number')).to.deep.equal([1, 2, 3, 6, 7, 8, 9, 10])
  })

  it('ignores an acknowledgement of events that were never sent', async () => {
    const setup = new Setup(2)
    await setup.open(undefined, 4)
    setup.stream.allow(0)
    const { epoch } = setup.channel
    await setup.publish(10)
    setup.broker.deliver(10)
    await setup.settle()
    expect(setup.stream.seen()).to.deep.equal([
      { event: 'sse.gap', channel: 'log', from: 1, to: 8, reason: 'trimmed' },
      9,
      10,
    ])
    setup.reader?.acknowledge([{ epoch, offset: 5 }])
    expect(setup.reader?.unacknowledged).to.equal(2)
    setup.reader?.acknowledge([{ epoch, offset: 9 }])
    expect(setup.reader?.unacknowledged).to.equal(1)
  })
})
