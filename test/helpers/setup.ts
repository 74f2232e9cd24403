/**
 * Loaded by mocha before the tests, in each of its processes. A test fails if a promise rejects without a handler while
 * it runs: in an application such a rejection ends the process, but mocha ignores it. A run without tests fails too;
 * mocha's `failZero` would fail each file without a matching test.
 */
const rejections: unknown[] = []

const onRejection = (reason: unknown): void => void rejections.push(reason)
process.on('unhandledRejection', onRejection)

export const mochaHooks = {
  beforeAll(): void {
    // A process that runs several files removes all listeners after each file.
    if (!process.listeners('unhandledRejection').includes(onRejection)) process.on('unhandledRejection', onRejection)
  },

  async afterEach(): Promise<void> {
    // Node reports unhandled rejections after the microtasks of a tick.
    await new Promise((resolve) => setImmediate(resolve))
    if (rejections.length === 0) return
    const reasons = rejections.splice(0)
    throw new AggregateError(reasons, `A promise rejected without a handler: ${reasons.map(String).join('; ')}`)
  },
}

export function mochaGlobalSetup(this: Mocha.Runner): void {
  let tests = 0
  this.on('test end', () => void tests++)
  this.once('end', () => {
    if (tests > 0) return
    console.error('No test has run: no title matches, or the files contain no tests')
    process.exit(1)
  })
}
