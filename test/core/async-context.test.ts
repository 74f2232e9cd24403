import { AsyncLocalStorage } from 'node:async_hooks'
import { expect } from 'chai'
import { outsideContext } from '../../lib/core/async-context.js'

describe('outside every async context', () => {
  const storage = new AsyncLocalStorage<string>()

  it('there is no store, also in work started there, and the result is returned', async () => {
    const [now, later] = storage.run('request', () =>
      outsideContext(() => [
        storage.getStore(),
        new Promise((resolve) => setImmediate(() => resolve(storage.getStore()))),
      ]),
    )
    expect(now).to.equal(undefined)
    expect(await later).to.equal(undefined)
  })

  it('a call that enters a store does not leave it to the next', () => {
    outsideContext(() => storage.enterWith('stray'))
    expect(outsideContext(() => storage.getStore())).to.equal(undefined)
  })

  it('the caller keeps its own store, also if the call throws', () => {
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
