import { expect } from 'chai'
import type { Position } from '../../lib/core/position.js'
import type { CursorPart } from '../../lib/multiplexer/channel/batch.js'
import { AckWindow } from '../../lib/multiplexer/reader/ack-window.js'

describe('an ack window', () => {
  let channel: CursorPart & { epoch: string }
  let window: AckWindow

  beforeEach(() => {
    channel = {
      name: 'a',
      epoch: 'aaaaaa',
      flushed: 0,
      positionIn: (cursor: readonly Position[]) => cursor.find(({ epoch }) => epoch === channel.epoch),
    }
    window = new AckWindow(10, [{ channel, offset: 0 }])
  })

  const acknowledge = (offset: number): void => window.acknowledge([{ epoch: channel.epoch, offset }])

  it('does not count the events of a gap, before and after they are acknowledged in part', () => {
    window.onSent(channel, 2)
    window.onGap(channel, 5)
    window.onGap(channel, 6)
    window.onSent(channel, 8)
    expect([window.unacknowledged, window.room]).to.deep.equal([4, 6])
    acknowledge(4)
    expect(window.unacknowledged).to.equal(2)
    acknowledge(6)
    expect(window.unacknowledged).to.equal(2)
    acknowledge(8)
    expect([window.unacknowledged, window.room]).to.deep.equal([0, 10])
  })

  it('forgets the gaps of a log that was replaced', () => {
    window.onSent(channel, 2)
    window.onGap(channel, 5)
    channel.epoch = 'bbbbbb'
    window.onReset(channel, 0)
    expect(window.unacknowledged).to.equal(0)
    window.onSent(channel, 7)
    expect(window.unacknowledged).to.equal(7)
  })

  it('ignores acknowledgements of events that were not sent, or that were acknowledged before', () => {
    window.onSent(channel, 5)
    acknowledge(6)
    expect(window.unacknowledged).to.equal(5)
    acknowledge(3)
    acknowledge(1)
    expect(window.unacknowledged).to.equal(2)
  })
})
