import { AsyncLocalStorage } from 'node:async_hooks'
import { expect } from 'chai'
import { outsideContext } from '../../lib/core/async-context.js'

describe('outsideContext', () => {
  const storage = new AsyncLocalStorage<string>()

  it('runs a function without a store, also its asynchronous work, and returns its result', async () => {
    const [now, later] = storage.run('request', () =>
      outsideContext(() => [
        storage.getStore(),
        new Promise((resolve) => setImmediate(() => resolve(storage.getStore()))),
      ]),
    )
    expect(now).to.equal(undefined)
    expect(await later).to.equal(undefined)
  })

  it('does not pass a store that a call enters to the next call', () => {
    outsideContext(() => storage.enterWith('stray'))
    expect(outsideContext(() => storage.getStore())).to.equal(undefined)
  })

  it('keeps the store of the caller, also if the call throws', () => {
    storage.run('request', () => {
      expect(() =>
        outsideContext(() => {
          throw new Error('failed')
        }),
      ).to.throw('failed')
      expect(storage.getStore()).to.equal('request')
    })
  })
})
