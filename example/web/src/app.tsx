/** The inbox, or the sign-in form without a session. */
import type { ReactNode } from 'react'
import { Inbox } from './inbox.js'
import { SignIn } from './sign-in.js'
import { useSession } from './use-session.js'

export function App(): ReactNode {
  const { session, busy, error, enter, leave } = useSession()
  if (session === undefined) return <SignIn busy={busy} error={error} onSubmit={enter} />
  return <Inbox key={`${session.tenant}/${session.user}`} session={session} onSignOut={leave} />
}
