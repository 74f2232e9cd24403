/** A dashboard as many are: four timers, each asking for all of what it shows. 22 requests a minute, whatever happens. */
import type { StartSide } from './side.js'

const POLLS = { listMs: 5_000, threadMs: 10_000, channelsMs: 20_000, profileMs: 60_000 } as const

export const startPolling: StartSide = ({ api, conversationId, screen }) => {
  const timers: ReturnType<typeof setInterval>[] = []
  let stopped = false

  function every<Answer>(ms: number, ask: () => Promise<Answer>, show: (answer: Answer) => void): void {
    const poll = async (): Promise<void> => {
      try {
        const answer = await ask()
        if (stopped) return
        screen.trouble(undefined)
        show(answer)
      } catch (error) {
        // Such a dashboard just asks again when it is time.
        if (!stopped) screen.trouble(error instanceof Error ? error.message : String(error))
      }
    }
    timers.push(setInterval(() => void poll(), ms))
    void poll()
  }

  every(POLLS.listMs, api.conversations, ({ items }) => screen.conversations(items))
  every(
    POLLS.threadMs,
    () => api.messages(conversationId),
    ({ items }) => screen.messages(items),
  )
  // The state of the channels, and the profile: the example answers both at once.
  every(POLLS.channelsMs, api.dashboard, () => undefined)
  every(POLLS.profileMs, api.dashboard, () => undefined)
  return () => {
    stopped = true
    for (const timer of timers) clearInterval(timer)
  }
}
