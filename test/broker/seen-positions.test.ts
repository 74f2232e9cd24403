import { expect } from 'chai'
import { SeenPositions } from '../../lib/broker/redis/seen-positions.js'

describe('the positions that a process has received', () => {
  let seen: SeenPositions
  beforeEach(() => {
    seen = new SeenPositions()
  })

  it('keep the highest offset of an epoch', () => {
    for (const offset of [5, 3, 7, 7, 6]) seen.note('a', { epoch: 'aaaaaa', offset })
    expect(seen.get('a')).to.include({ epoch: 'aaaaaa', offset: 7 })
    seen.noteHead('a', { epoch: 'aaaaaa', offset: 4 })
    expect(seen.get('a')).to.include({ epoch: 'aaaaaa', offset: 7 })
  })

  it('change their epoch with a head, not with an entry', () => {
    seen.note('a', { epoch: 'aaaaaa', offset: 5 })
    seen.note('a', { epoch: 'bbbbbb', offset: 9 })
    expect(seen.get('a')).to.include({ epoch: 'aaaaaa', offset: 5 })
    seen.noteHead('a', { epoch: 'bbbbbb', offset: 4 })
    expect(seen.get('a')).to.include({ epoch: 'bbbbbb', offset: 4 })
  })

  it('report the epochs after which received entries are lost', () => {
    seen.note('a', { epoch: 'aaaaaa', offset: 5 })
    const head = { epoch: 'bbbbbb', offset: 6, earlier: [{ epoch: 'aaaaaa', offset: 4 }] }
    expect(seen.noteHead('a', head)).to.deep.equal(['aaaaaa'])
    expect(seen.noteHead('a', head)).to.deep.equal(['aaaaaa'])
  })

  it('report no epoch that began after the lost entries', () => {
    seen.noteHead('a', { epoch: 'cccccc', offset: 9, earlier: [{ epoch: 'bbbbbb', offset: 6 }] })
    const earlier = [
      { epoch: 'dddddd', offset: 7 },
      { epoch: 'bbbbbb', offset: 6 },
    ]
    expect(seen.noteHead('a', { epoch: 'eeeeee', offset: 8, earlier })).to.have.members(['cccccc', 'bbbbbb'])
  })

  it('report nothing if the log still has all received entries', () => {
    seen.note('a', { epoch: 'aaaaaa', offset: 4 })
    const head = { epoch: 'bbbbbb', offset: 6, earlier: [{ epoch: 'aaaaaa', offset: 4 }] }
    expect(seen.noteHead('a', head)).to.deep.equal([])
  })

  it('of at most 10,000 channels are kept: those that were updated last', () => {
    for (let n = 0; n < 10_000; n++) seen.note(`${n}`, { epoch: 'aaaaaa', offset: 1 })
    seen.note('0', { epoch: 'aaaaaa', offset: 2 })
    expect(seen.get('1')).to.not.equal(undefined)
    seen.note('new', { epoch: 'aaaaaa', offset: 1 })
    expect([seen.get('0')?.offset, seen.get('1'), seen.get('new')?.offset]).to.deep.equal([2, undefined, 1])
  })
})
