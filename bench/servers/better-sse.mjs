import { createChannel, createSession } from 'better-sse'
import { serve } from '../harness/driver.mjs'
import { optionsOf } from '../harness/processes.mjs'

/** Channels all streams are on; events go to each in turn. */
const { shared = 1 } = optionsOf()
const channels = Array.from({ length: shared }, () => createChannel())
serve(
  async (req, res) => {
    const session = await createSession(req, res)
    for (const channel of channels) channel.register(session)
    res.write(':\n\n')
  },
  (number, data) => void channels[number % shared].broadcast(data, 'message'),
)
