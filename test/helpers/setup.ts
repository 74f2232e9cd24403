/**
 * Loaded by mocha before the tests, in each of its processes. A test during which a promise is rejected that nothing handles fails: mocha
 * itself ignores such a rejection, while it ends a process. A run without tests fails: `failZero` would fail each file without a match.
 */
const rejections: unknown[] = []

const onRejection = (reason: unknown): void => void rejections.push(reason)
process.on('unhandledRejection', onRejection)

export const mochaHooks = {
  beforeAll(): void {
    // After each file, a process that runs several removes all listeners.
    if (!process.listeners('unhandledRejection').includes(onRejection)) process.on('unhandledRejection', onRejection)
  },

  async afterEach(): Promise<void> {
    // They are reported after the microtasks of a turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve))
    if (rejections.length === 0) return
    const reasons = rejections.splice(0)
    throw new AggregateError(reasons, `A rejection that nothing handles: ${reasons.map(String).join('; ')}`)
  },
}

export function mochaGlobalSetup(this: Mocha.Runner): void {
  let tests = 0
  this.on('test end', () => void tests++)
  this.once('end', () => {
    if (tests > 0) return
    console.error('No test has run: no title matches, or the files have none')
    process.exit(1)
  })
}
