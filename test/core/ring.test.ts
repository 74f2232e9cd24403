import { expect } from 'chai'
import fc from 'fast-check'
import { Ring } from '../../lib/core/ring.js'

class Push implements fc.Command<number[], Ring<number>> {
  readonly #item: number
  constructor(item: number) {
    this.#item = item
  }
  check = () => true
  run(model: number[], ring: Ring<number>): void {
    model.push(this.#item)
    ring.push(this.#item)
    same(model, ring)
  }
  toString = () => `push(${this.#item})`
}

class Shift implements fc.Command<number[], Ring<number>> {
  check = () => true
  run(model: number[], ring: Ring<number>): void {
    expect(ring.shift()).to.equal(model.shift())
    same(model, ring)
  }
  toString = () => 'shift()'
}

class Clear implements fc.Command<number[], Ring<number>> {
  check = () => true
  run(model: number[], ring: Ring<number>): void {
    model.length = 0
    ring.clear()
    same(model, ring)
  }
  toString = () => 'clear()'
}

function same(model: readonly number[], ring: Ring<number>): void {
  expect(ring.length).to.equal(model.length)
  expect(model.map((_, i) => ring.at(i))).to.deep.equal(model)
  expect(ring.at(-1)).to.equal(undefined)
  expect(ring.at(model.length)).to.equal(undefined)
}

describe('the ring', () => {
  it('behaves like an array', () => {
    const commands = fc.commands(
      [
        fc.nat().map((n) => new Push(n)),
        fc.nat().map((n) => new Push(n)),
        fc.constant(new Shift()),
        fc.constant(new Clear()),
      ],
      { size: 'large' },
    )
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), commands, (capacity, sequence) => {
        fc.modelRun(() => ({ model: [] as number[], real: new Ring<number>(capacity) }), sequence)
      }),
    )
  })
})
