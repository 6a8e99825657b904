import { Button, Modal } from '@mantine/core'
import { useMutation, useQueryClient } from '@tanstack/react-query'
import type { FormEvent, ReactNode } from 'react'
import { call } from '../../api/client'
import { ProblemView } from '../../components/Views'
import { t } from '../../i18n'

/** A dialog that sends a form and asks for the list anew. */
export function FormDialog({
  title,
  send,
  queryKey,
  close,
  children,
}: {
  title: string
  send: () => { path: string; method: string; body?: unknown }
  queryKey: readonly unknown[]
  close: () => void
  children: ReactNode
}) {
  const client = useQueryClient()
  const sent = useMutation({
    mutationFn: () => {
      const { path, method, body } = send()
      return call(path, { method, ...(body === undefined ? {} : { body }) })
    },
    onSuccess: () => {
      close()
      return client.invalidateQueries({ queryKey })
    },
  })
  const submit = (event: FormEvent) => {
    event.preventDefault()
    sent.mutate()
  }
  return (
    <Modal opened onClose={close} title={title}>
      <form onSubmit={submit} style={{ display: 'grid', gap: 12 }}>
        {children}
        {sent.isError && <ProblemView error={sent.error} />}
        <div className="bar">
          <Button type="submit" loading={sent.isPending}>
            {t('action.save')}
          </Button>
          <Button variant="default" onClick={close}>
            {t('action.cancel')}
          </Button>
        </div>
      </form>
    </Modal>
  )
}

/** Asks once more before something is gone. */
export function DeleteDialog({
  what,
  path,
  queryKey,
  close,
}: {
  what: string
  path: string
  queryKey: readonly unknown[]
  close: () => void
}) {
  const client = useQueryClient()
  const gone = useMutation({
    mutationFn: () => call(path, { method: 'DELETE' }),
    onSuccess: () => {
      close()
      return client.invalidateQueries({ queryKey })
    },
  })
  return (
    <Modal opened onClose={close} title={t('delete.title', { what })}>
      <p>{t('delete.sure')}</p>
      {gone.isError && <ProblemView error={gone.error} />}
      <div className="bar">
        <Button color="red" loading={gone.isPending} onClick={() => gone.mutate()}>
          {t('action.delete')}
        </Button>
        <Button variant="default" onClick={close}>
          {t('action.cancel')}
        </Button>
      </div>
    </Modal>
  )
}
